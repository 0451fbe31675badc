# Section 3 on scikit-learn's 1,797 real digits of 8x8 pixels: which points are the least robust, in both norms?
# Any laptop: less than a minute.
#
#   make -C examples digits

.PHONY: digits
digits:
include $(dir $(lastword $(MAKEFILE_LIST)))digits-sets.mk

digits_listings := $(norms:%=$(OUT)/digits-%.tsv)
digits_pictures := $(OUT)/digits-sensitivity.svg $(norms:%=$(OUT)/digits-pairs-%.png)

digits: $(digits_rankings) $(digits_listings) $(digits_pictures)
	@printf '\nRankings, and as text:\n'; printf '  %s\n' $(digits_rankings) $(digits_listings)
	@printf 'Pictures:\n'; printf '  %s\n' $(digits_pictures)
	@for norm in $(norms); do \
	  printf '\nThe five least robust points in %s: index, distance, neighbour, label, its label\n' $$norm; \
	  head -n 5 $(OUT)/digits-$$norm.tsv; \
	done

$(digits_listings): $(OUT)/digits-%.tsv: $(OUT)/digits.zarr
	$(run)sens-rank $< --norm $* > $@.part && mv $@.part $@

$(OUT)/digits-sensitivity.svg: $(digits_rankings)
	$(run)figure sensitivity $^ -o $@

$(norms:%=$(OUT)/digits-pairs-%.png): $(OUT)/digits-pairs-%.png: $(OUT)/digits.zarr $(OUT)/digits-%.zarr
	$(run)figure pairs $^ -o $@
