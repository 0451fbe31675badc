# Figure 16: ordered sensitivity of the six EMNIST sets, absolute and relative, in l2 and l_inf, each without its 40 least
# robust points.  Data: sets.mk, and there which points L has; missing sets are left out, and MNIST replaces M if EMNIST's own
# is missing.
# Two CPU cores: half a minute with M alone; By-Class, 697,932 points, takes a few minutes in each norm.  Memory: 2 GB.
# The paper: M and D are alike, BM and BC are alike, L and B are alike.
#
#   make -C examples figure16 DATA=/folder/of/published/files OUT=/folder/of/results

.PHONY: figure16
figure16:
include $(dir $(lastword $(MAKEFILE_LIST)))sets.mk

figure16_wanted := M D L B BM BC
figure16_sets   := $(call there,$(figure16_wanted))

figure16: $(if $(figure16_sets),$(OUT)/figure16.$(FORM))
	@$(call absent,$(figure16_wanted))
	@$(call made,$^)

$(OUT)/figure16.$(FORM): $(foreach norm,$(norms),$(figure16_sets:%=$(OUT)/%-$(norm).zarr))
	$(run)figure sensitivity $^ $(foreach norm,$(norms),$(call names,$(figure16_sets))) --without-least 40 \
	  -o $@ --tsv $(basename $@).all.tsv --overwrite
	awk -f $(here)/quantiles.awk $(basename $@).all.tsv > $(basename $@).tsv
