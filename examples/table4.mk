# Table 4: more epochs (3000 with 20 million generated images, 2000 with 50 million), batches of 2,080, sets twice as large,
# nothing held out, the seeds of Table 3.  The rows with "*" have batches of 2,048 plus 32 PGD-40 examples of the focus points,
# for any FOCUS.
# Data, notation, focus, hardware, SMALL=yes: rows.mk; a row of 3000 epochs takes 75 hours at the paper's speed, one of 2000
# epochs 50 hours.
# Result: $(OUT)/table4.md, beside the paper's numbers (table4.tsv).  How to read a difference: table2.mk.
#
#   make -C examples table4/c10inf-c_2s-star DATA=/folder/of/published/files OUT=/folder/of/results

.PHONY: table4
table4:
include $(dir $(lastword $(MAKEFILE_LIST)))rows.mk

table4_rows  = $(1)_2v $(1)-c_2s $(1)-c_2s-star
table4_all   := $(foreach prefix,c10inf c10l2 c100inf,$(call table4_rows,$(prefix)))
table4_found := $(if $(call row_there,c10,20m),$(call table4_rows,c10inf)) $(if $(call row_there,c10,50m),$(call table4_rows,c10l2)) \
  $(if $(call row_there,c100,c100-50m),$(call table4_rows,c100inf))

$(call table,table4,$(table4_all),$(table4_found),$(SEED_34),$(call rows_absent,c10 c100,20m 50m c100-50m))
