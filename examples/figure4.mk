# Figure 4 (a, b): label distributions of the 1,024 least robust, random, and most robust points of CIFAR-10, in both norms.
# Data: CIFAR-10 (sets.mk).  Two CPU cores: half a minute.  Memory: 1 GB.
#
#   make -C examples figure4 DATA=/folder/of/published/files OUT=/folder/of/results

.PHONY: figure4
figure4:
include $(dir $(lastword $(MAKEFILE_LIST)))sets.mk

N ?= 1024

figure4: $(if $(source_c10),$(OUT)/figure4.$(FORM))
	@$(call absent,c10)
	@$(call made,$^)

$(OUT)/figure4.$(FORM): $(norms:%=$(OUT)/c10-%.zarr) $(OUT)/c10.zarr
	$(run)figure labels $^ --n $(N) --seed $(SEED) -o $@ --tsv $(basename $@).tsv --overwrite
