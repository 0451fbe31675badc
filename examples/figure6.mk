# Figure 6: maps of CIFAR-10/100/100s (left to right) by MDS (rows 1, 2) and RTE (rows 3, 4).  Colour and size show robustness
# in l2 (rows 1, 3) and l_inf (rows 2, 4).  Data: sets.mk; missing sets are left out.  With a single set, the two norms are
# side by side.  The paper does not say whether its second row is a map of l_inf distances; here it is (maps.mk).
# Hardware: 36 s of processor time with CIFAR-10 alone; each further set takes as long.  Memory: 0.5 GB.
# The paper: patterns emerge.  figure6.tsv has the stress of each map, the rank correlation of robustness between neighbours,
# and the largest such correlation in 999 permutations.
#
#   make -C examples figure6 DATA=/folder/of/published/files OUT=/folder/of/results

.PHONY: figure6
figure6:
include $(dir $(lastword $(MAKEFILE_LIST)))maps.mk

figure6_wanted := c10 c100 c100s
figure6_sets   := $(call there,$(figure6_wanted))

figure6: $(if $(figure6_sets),$(OUT)/figure6.$(FORM))
	@$(call absent,$(figure6_wanted))
	@$(call made,$^)

$(OUT)/figure6.$(FORM): $(call maps,$(figure6_sets))
	$(run)figure map $^ $(call maps_names,$(figure6_sets)) --columns $(call maps_columns,$(figure6_sets)) \
	  --color robustness -o $@ --tsv $(basename $@).all.tsv --overwrite
	$(measured) $(basename $@).all.tsv > $(basename $@).tsv
