# Figure 2, (a, b): ordered l2 sensitivity of CIFAR-10/100/100s and of samples of TI500K and 1m; differences between
# CIFAR-100 and CIFAR-10 ("+"), and between CIFAR-100 and CIFAR-100s ("o").  (c, d): maps of CIFAR-10 and CIFAR-100 by MDS of
# l2 distances (maps.mk); colour and size show l2 sensitivity.  Data: sets.mk; missing sets are left out.  CIFAR-10 alone gives
# one curve and (c).
# Two CPU cores: 15 seconds with CIFAR-10 alone, and as much for (c); each further set takes as long, and 1m and TI500K
# must first be imported.  The paper (Appendix B): about an hour per set on the 32 cores of an AMD EPYC 7452.  Memory: 1 GB.
# The paper: CIFAR-10/100/100s and 1m have similar curves, that of TI500K is lower, and patterns emerge on the maps.
# figure2c.tsv and figure2d.tsv have the stress of the maps, the rank correlation of robustness between neighbours, and the
# largest such correlation in 999 permutations.
#
#   make -C examples figure2 DATA=/folder/of/published/files OUT=/folder/of/results

.PHONY: figure2
figure2:
include $(dir $(lastword $(MAKEFILE_LIST)))maps.mk

figure2_wanted := c10 c100 c100s ti500k 1m
figure2_sets   := $(call there,$(figure2_wanted))
figure2_others := $(call there,c10 c100s)
by_c10         := --by rank
by_c100s       := --by point

figure2: $(if $(figure2_sets),$(OUT)/figure2a.$(FORM)) $(if $(source_c100),$(OUT)/figure2b.$(FORM)) \
  $(if $(source_c10),$(OUT)/figure2c.$(FORM)) $(if $(source_c100),$(OUT)/figure2d.$(FORM))
	@$(call absent,$(figure2_wanted))
	@$(if $(source_c100),,echo 'left out: Figure 2 (b), which is about CIFAR-100, and (d), its map' >&2)
	@$(call made,$^)

$(OUT)/figure2a.$(FORM): $(figure2_sets:%=$(OUT)/%-l2.zarr)
	$(run)figure sensitivity $^ $(call names,$(figure2_sets)) --absolute -o $@ --tsv $(basename $@).all.tsv --overwrite
	awk -f $(here)/quantiles.awk $(basename $@).all.tsv > $(basename $@).tsv

$(OUT)/figure2b.$(FORM): $(OUT)/c100-l2.zarr $(figure2_others:%=$(OUT)/%-l2.zarr)
	$(run)figure difference $^ $(call names,c100 $(figure2_others)) $(foreach set,$(figure2_others),$(by_$(set))) \
	  -o $@ --tsv $(basename $@).all.tsv --overwrite
	awk -v of=difference -f $(here)/quantiles.awk $(basename $@).all.tsv > $(basename $@).tsv

# $(call of_figure2,PART,SET)
define of_figure2
$(OUT)/figure2$(1).$(FORM): $(call map,$(2),mds,l2)
	$(run)figure map $$^ $(call names,$(2)) --color sensitivity -o $$@ --tsv $$(basename $$@).all.tsv --overwrite
	$$(measured) $$(basename $$@).all.tsv > $$(basename $$@).tsv
endef
$(eval $(call of_figure2,c,c10))
$(eval $(call of_figure2,d,c100))
