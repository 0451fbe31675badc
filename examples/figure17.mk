# Figure 17: maps of EMNIST's M, L and B (left to right) by MDS (rows 1, 2) and RTE (rows 3, 4).  Colour and size show
# robustness in l2 (rows 1, 3) and l_inf (rows 2, 4).  Data: sets.mk, and there which points L has; missing sets are left out,
# and MNIST replaces M if EMNIST's own is missing.  With a single set, the two norms are side by side.
# Hardware: 39 s of processor time with M alone.  Memory: 0.5 GB.
# The paper: clusters of the least robust points dominate, specifically in l_inf.
# figure17.tsv has the same columns as figure6.tsv.  In l_inf 80 % of the points of MNIST are between 0.988 and 0.996, so few
# points are red if colour is proportional to robustness, as in the paper; figure17-rank is coloured by rank and shows the
# clusters.
#
#   make -C examples figure17 DATA=/folder/of/published/files OUT=/folder/of/results

.PHONY: figure17
figure17:
include $(dir $(lastword $(MAKEFILE_LIST)))maps.mk

figure17_wanted := M L B
figure17_sets   := $(call there,$(figure17_wanted))

figure17: $(if $(figure17_sets),$(OUT)/figure17.$(FORM) $(OUT)/figure17-rank.$(FORM))
	@$(call absent,$(figure17_wanted))
	@$(call made,$^)

figure17_draw = $(run)figure map $^ $(call maps_names,$(figure17_sets)) --columns $(call maps_columns,$(figure17_sets)) \
  --color robustness

$(OUT)/figure17.$(FORM): $(call maps,$(figure17_sets))
	$(figure17_draw) -o $@ --tsv $(basename $@).all.tsv --overwrite
	$(measured) $(basename $@).all.tsv > $(basename $@).tsv

$(OUT)/figure17-rank.$(FORM): $(call maps,$(figure17_sets))
	$(figure17_draw) --scale rank -o $@ --overwrite
