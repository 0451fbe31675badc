# Table 3: the baseline, and schedule c with a focus on s, with new random seeds, SEED_34: CIFAR-10 in l_inf (2400 epochs,
# 20 million generated images) and l2, CIFAR-100 in l_inf (1600 epochs, 50 million each); batches of 2,048.
# Data, notation, focus, hardware, SMALL=yes: rows.mk; a row of 1600 epochs took the paper 40 hours.  CIFAR-100 is without the
# 40 points that the paper leaves out (sets.mk).
# Result: $(OUT)/table3.md, beside the paper's numbers (table3.tsv).  How to read a difference: table2.mk.
#
#   make -C examples table3/c10l2-v-c_s DATA=/folder/of/published/files OUT=/folder/of/results

.PHONY: table3
table3:
include $(dir $(lastword $(MAKEFILE_LIST)))rows.mk

table3_rows  = $(1)-v_v $(1)-v-c_s
table3_all   := $(foreach prefix,c10inf c10l2 c100inf,$(call table3_rows,$(prefix)))
table3_found := $(if $(call row_there,c10,20m),$(call table3_rows,c10inf)) $(if $(call row_there,c10,50m),$(call table3_rows,c10l2)) \
  $(if $(call row_there,c100,c100-50m),$(call table3_rows,c100inf))

$(call table,table3,$(table3_all),$(table3_found),$(SEED_34),$(call rows_absent,c10 c100,20m 50m c100-50m))
