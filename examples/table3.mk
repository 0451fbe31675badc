# Table 3: the baseline and schedule c with a focus on s, with new random seeds, SEED_34: CIFAR-10 in l_inf (2400 epochs,
# 20 million generated images) and l2, CIFAR-100 in l_inf (1600 epochs, 50 million each); batches of 2,048.
# Data, notation, focus, hardware, SMALL=yes: rows.mk.  The paper: 4 x A100 40 GB, 60 hours (240 A100-hours) a row of 2400
# epochs, 40 hours one of 1600.  Ours: not run at this size.  SMALL=yes: 3 minutes of a processor core a row.
#
# The paper's numbers are table3.tsv; the result is $(OUT)/table3.md, theirs beside ours.  0.2 percentage points of 10,000 test
# images are 20 images.
#
#   make -C examples table3/c10l2-v-c_s DATA=/folder/of/published/files OUT=/folder/of/results
#
# CIFAR-100 is without the 40 points that the paper leaves out (sets.mk).

.PHONY: table3
table3:
include $(dir $(lastword $(MAKEFILE_LIST)))rows.mk

table3_rows  = $(1)-v_v $(1)-v-c_s
table3_all   := $(foreach prefix,c10inf c10l2 c100inf,$(call table3_rows,$(prefix)))
table3_found := $(if $(call row_there,c10,20m),$(call table3_rows,c10inf)) $(if $(call row_there,c10,50m),$(call table3_rows,c10l2)) \
  $(if $(call row_there,c100,c100-50m),$(call table3_rows,c100inf))

$(call table,table3,$(table3_all),$(table3_found),$(SEED_34),$(call rows_absent,c10 c100,20m 50m c100-50m))
