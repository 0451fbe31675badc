# Figure 5 (a, b): ordered l_inf sensitivity of CIFAR-10/100/100s and of samples of TI500K and 1m, and differences between
# CIFAR-100 and CIFAR-10 ("+"), and CIFAR-100 and CIFAR-100s ("o").  Data: sets.mk; what is not there is left out, and
# with CIFAR-10 alone there is one curve.
# Two CPU cores: 20 seconds with CIFAR-10 alone; each further set takes as long, and 1m and TI500K first have to be read.
# The paper (Appendix B): about an hour a set on the 32 cores of an AMD EPYC 7452. Memory: 1 GB.
# The paper's numbers: none; CIFAR-10/100/100s and 1m have similar curves, that of TI500K is lower.
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
