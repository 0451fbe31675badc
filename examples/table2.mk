# Table 2: CIFAR-10, l_inf, 2400 epochs in batches of 2,048 with 20 million generated images, seed SEED_2.
# Data, notation, focus, hardware, SMALL=yes: rows.mk.
#
# Result: $(OUT)/table2.md, beside the paper's numbers (table2.tsv).  The paper says that a gain of 0.2 percentage points is
# "about 200 images" of the test set; of 10,000 images it is 20.  The standard error of such an accuracy is 0.47 points, so
# test a difference with aacompare before you interpret it.
#
#   make -C examples table2/c10inf-v_s DATA=/folder/of/published/files OUT=/folder/of/results     one row
#   make -C examples table2 DATA=/folder/of/published/files SMALL=yes                             all, small
#
# A row is $(OUT)/runs/NAME.SEED.  Beside it are its evaluations NAME.SEED.best.zarr and NAME.SEED.last.zarr and their lines
# NAME.SEED.jsonl.  With SMALL=yes: small-runs, small-table2.md.

.PHONY: table2
table2:
include $(dir $(lastword $(MAKEFILE_LIST)))rows.mk

table2_rows := c10inf-v_v c10inf-vp_v c10inf-v_none c10inf-s_s c10inf-v_s c10inf-v_2s c10inf-v_4s \
  c10inf-v-a_s c10inf-v-b_s c10inf-v-c_s c10inf-v-d_s c10inf-v-e_s

$(call table,table2,$(table2_rows),$(if $(call row_there,c10,20m),$(table2_rows)),$(SEED_2),$(call rows_absent,c10,20m))
