# Figures 2 (c, d) and 6 on scikit-learn's real digits: do points of similar robustness lie together?  Maps of a sample of 600
# points by multidimensional scaling and by random trees, in both norms.  Any laptop: seconds.
#
#   make -C examples digits-maps

.PHONY: digits-maps
digits-maps:
include $(dir $(lastword $(MAKEFILE_LIST)))digits-sets.mk

maps_stores := $(foreach method,mds rte,$(norms:%=$(OUT)/digits-$(method)-%.zarr))

digits-maps: $(OUT)/digits-maps.svg
	@printf '\nMaps of digits:\n  %s\n' $<

$(maps_stores): $(OUT)/digits.zarr $(digits_rankings)
	$(run)embed $< --ranking $(OUT)/digits-$(lastword $(subst -, ,$(basename $@))).zarr --method $(word 2,$(subst -, ,$(notdir $@))) \
	  --n 600 -o $@

$(OUT)/digits-maps.svg: $(maps_stores)
	$(run)figure map $^ $(foreach one,$^,--name digits) -o $@ --overwrite
