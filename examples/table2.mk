# Table 2: CIFAR-10, l_inf, 2400 epochs in batches of 2,048 with 20 million generated images, seed SEED_2.
# Data, notation, focus, hardware, SMALL=yes: rows.mk.  The paper: 4 x A100 40 GB, 60 hours (240 A100-hours) a row, and
# one run a row.  Ours: not run at this size.  SMALL=yes: 6 minutes of a processor core a row.
#
#   the paper's numbers       best: clean - AutoAttack   last             best epoch   PGD-40 of the tracked points there
#   c10inf-v_v                92.45 - 67.53              92.40 - 67.57    2384         72.66   (Wang et al. 2023)
#   c10inf-vp_v               92.62 - 67.54              92.63 - 67.56    2393         89.75
#   c10inf-v_none             none                       92.47 - 67.52    none         none
#   c10inf-s_s                92.44 - 67.57              92.54 - 67.47    2340         39.94
#   c10inf-v_s                92.40 - 67.77              92.40 - 67.70    2393         50.98
#   c10inf-v_2s               92.59 - 67.72              92.56 - 67.72    2390         55.62
#   c10inf-v_4s               92.45 - 67.72              92.42 - 67.71    2396         62.65
#   c10inf-v-a_s              92.60 - 67.61              92.46 - 67.72    2382         52.25
#   c10inf-v-b_s              92.55 - 67.55              92.59 - 67.55    2383         51.46
#   c10inf-v-c_s              92.44 - 67.58              92.47 - 67.83    2238         51.17
#   c10inf-v-d_s              92.41 - 67.41              92.41 - 67.47    2293         50.88
#   c10inf-v-e_s              92.57 - 67.51              92.51 - 67.45    2386         51.86
#
#   make -C examples table2/c10inf-v_s DATA=/folder/of/published/files OUT=/folder/of/results     one row
#   make -C examples table2 DATA=/folder/of/published/files SMALL=yes                             all, small
#
# A row is $(OUT)/runs/NAME.SEED, its evaluation NAME.SEED.jsonl beside it, and all of them are $(OUT)/table2.jsonl (in
# small small-runs, small-table2.jsonl).

.PHONY: table2
table2:
include $(dir $(lastword $(MAKEFILE_LIST)))rows.mk

table2_rows := c10inf-v_v c10inf-vp_v c10inf-v_none c10inf-s_s c10inf-v_s c10inf-v_2s c10inf-v_4s \
  c10inf-v-a_s c10inf-v-b_s c10inf-v-c_s c10inf-v-d_s c10inf-v-e_s

# $(call table2_row,NAME,HOLD-OUT,TRACK,SCHEDULE)
table2_row = $(call row,$(1),$(SEED_2),c10,linf,20m,2400,2048,$(2),$(3),$(FOCUS),$(4))
$(call table2_row,c10inf-v_v,v,v,original)
$(call table2_row,c10inf-vp_v,vp,v,original)
$(call table2_row,c10inf-v_none,v,none,original)
$(call table2_row,c10inf-s_s,s,s,original)
$(call table2_row,c10inf-v_s,v,s,original)
$(call table2_row,c10inf-v_2s,v,2s,original)
$(call table2_row,c10inf-v_4s,v,4s,original)
$(foreach version,a b c d e,$(call table2_row,c10inf-v-$(version)_s,v,s,$(version)))

$(call table,table2,$(table2_rows),$(if $(call row_there,c10,20m),$(table2_rows)),$(SEED_2),$(call rows_absent,c10,20m))
