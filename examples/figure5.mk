# Figure 5 (a, b): as Figure 2 (a, b), in l_inf: ordered sensitivity of CIFAR-10/100/100s and of samples of TI500K and 1m;
# differences between CIFAR-100 and CIFAR-10 ("+"), and between CIFAR-100 and CIFAR-100s ("o").
# Data: sets.mk; missing sets are left out.  CIFAR-10 alone gives one curve.
# Two CPU cores: 20 seconds with CIFAR-10 alone; each further set takes as long, and 1m and TI500K must first be imported.
# The paper (Appendix B): about an hour per set on the 32 cores of an AMD EPYC 7452.  Memory: 1 GB.
# The paper: CIFAR-10/100/100s and 1m have similar curves, that of TI500K is lower.
#
#   make -C examples figure5 DATA=/folder/of/published/files OUT=/folder/of/results

.PHONY: figure5
figure5:
include $(dir $(lastword $(MAKEFILE_LIST)))sets.mk

figure5_wanted := c10 c100 c100s ti500k 1m
figure5_sets   := $(call there,$(figure5_wanted))
figure5_others := $(call there,c10 c100s)
by_c10         := --by rank
by_c100s       := --by point

figure5: $(if $(figure5_sets),$(OUT)/figure5a.$(FORM)) $(if $(source_c100),$(OUT)/figure5b.$(FORM))
	@$(call absent,$(figure5_wanted))
	@$(if $(source_c100),,echo 'left out: Figure 5 (b), which is about CIFAR-100' >&2)
	@$(call made,$^)

$(OUT)/figure5a.$(FORM): $(figure5_sets:%=$(OUT)/%-linf.zarr)
	$(run)figure sensitivity $^ $(call names,$(figure5_sets)) --absolute -o $@ --tsv $(basename $@).all.tsv --overwrite
	awk -f $(here)/quantiles.awk $(basename $@).all.tsv > $(basename $@).tsv

$(OUT)/figure5b.$(FORM): $(OUT)/c100-linf.zarr $(figure5_others:%=$(OUT)/%-linf.zarr)
	$(run)figure difference $^ $(call names,c100 $(figure5_others)) $(foreach set,$(figure5_others),$(by_$(set))) \
	  -o $@ --tsv $(basename $@).all.tsv --overwrite
	awk -v of=difference -f $(here)/quantiles.awk $(basename $@).all.tsv > $(basename $@).tsv
