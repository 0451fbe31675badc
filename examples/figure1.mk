# Figure 1 (b): accuracies by epoch of two models, with the 1,024 most robust points (left) or the 1,024 least robust points
# (right) in focus.  Red pentagons: their PGD-40 accuracy.  CIFAR-10, l_inf, 2400 epochs, 20 million generated images.
# Data, notation, focus, hardware, SMALL=yes: rows.mk.  The right model is the row c10inf-v_s of Table 2; both recipes share it.
# The paper: the last two adversarial accuracies differ by a factor of 2.
#
#   make -C examples figure1 DATA=/folder/of/published/files OUT=/folder/of/results

.PHONY: figure1
figure1:
include $(dir $(lastword $(MAKEFILE_LIST)))rows.mk

figure1_runs := $(runs)/c10inf-v_m.$(SEED_2) $(runs)/c10inf-v_s.$(SEED_2)

figure1_made := $(OUT)/$(if $(SMALL),small-)figure1b.$(FORM)
figure1: $(if $(call row_there,c10,20m),$(figure1_made))
	@$(call rows_absent,c10,20m)
	@$(call made,$^)

$(figure1_made): $(figure1_runs:%=%.run)
	$(run)figure training $(figure1_runs) --name 'most robust in focus' --name 'least robust in focus' \
	  -o $@ --tsv $(basename $@).tsv --overwrite
