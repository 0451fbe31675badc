# Figure 17: maps of EMNIST's M, L and B (left to right) by MDS (rows 1, 2) and RTE (rows 3, 4), coloured and sized by l2
# (rows 1, 3) and l_inf robustness (rows 2, 4).  Data: sets.mk; what is not there is left out, MNIST stands for M where
# EMNIST's own is not there, and with one set the norms stand side by side.
# Hardware: 39 s of processor time with M alone. Memory: 0.5 GB.
# The paper's numbers: none; clusters of the least robust points dominate, specifically in l_inf. Ours: figure17.tsv, as
# figure6.tsv.  In l_inf 80 % of the points of MNIST are between 0.988 and 0.996, so that few are red where colour is in
# proportion to robustness, as the paper says; figure17-rank has colours by rank, and the clusters.
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

figure17_draw = $(run)figure map $^ $(call maps_names,$(figure17_sets)) --columns $(call maps_columns,$(figure17_sets))

$(OUT)/figure17.$(FORM): $(call maps,$(figure17_sets))
	$(figure17_draw) -o $@ --tsv $(basename $@).all.tsv --overwrite
	$(measured) $(basename $@).all.tsv > $(basename $@).tsv

$(OUT)/figure17-rank.$(FORM): $(call maps,$(figure17_sets))
	$(figure17_draw) --scale rank -o $@ --overwrite
