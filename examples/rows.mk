# Rows of Tables 2 to 4 and of Figure 1 (b): one training and one evaluation each.  Other recipes include this file.
#
# Names.  The paper's C10inf,-A,c(B) is c10inf-A-c_B here; (.) is "none", v' is vp, "*" is -star.  A row holds out A from
# training and tracks B with PGD-40, which selects the best epoch.  If B is trained on, it is also in focus.
#
#   v    the first 1,024 points: CIFAR's order is random, and the code that the paper modifies uses these
#   vp   the next 1,024 points
#   2v   the first 2,048
#   s    the 1,024 least robust points in the norm of the row; 2s and 4s: the 2,048 and 4,096 least robust
#   m    the 1,024 most robust
#
# Focus.  The paper's rows without a star relied on an effect of tracking that its Appendix D suspects (glitch.mk).  Here the
# focus must be set:
#
#   FOCUS=fixed        As Section 4 describes it: focus points are a fixed part of every epoch, and their adversaries are those
#                      of PGD-40.  A focus point is drawn 5.2 times as often as another one, and at least once an epoch.  With
#                      the paper's sets that is once an epoch, beside 0.19 times.
#   FOCUS=oversample   The same draws, with the adversaries of the training attack (PGD-10).
#   FOCUS=inject       32 PGD-40 examples are appended to every batch, as in the rows with a star.
#   FOCUS=none         As the published code.  Rows then differ only by schedule, hold-out and best epoch.
#
# The paper leaves open: when the PGD-40 adversaries are made and against which weights (here: at the start of an epoch, against
# the averaged weights, as Appendix D says of its rows with a star); whether focus images are cropped and flipped (here: not);
# whether a focus point is also drawn as an ordinary one (here: not).  The log of a run says how often both kinds were drawn.
#
# Data in DATA, besides CIFAR's (sets.mk): 20m.npz (61 GB), 50m.npz and cifar100-50m.npz (154 GB each), the generated images of
# Wang et al. 2023.  Their repository DM-Improves-AT says where the parts are and merges them.  They are imported once, in
# random order, which takes the same disk space again; training streams them.
#
# Hardware.  The authors: 4 x A100 40 GB, 60 hours per row of 2400 epochs, that is 240 A100-hours.  Here the default is GPUS=4
# processes on one machine.  GPUS=1 is one process, on the CPU if there is no GPU.  examples/slurm and examples/kubernetes have
# one row as a job.
#
# SMALL=yes takes four minutes of a CPU core per row, evaluation included: WRN-10-1; 6 epochs (8 where the paper has a quarter
# more) of 2,000 points of CIFAR-10 in batches of 64; sets of 64 instead of 1,024; largest learning rate 0.1; no generated
# images; 1,000 test images; two of AutoAttack's four attacks, with 20 steps.  small.mk runs ten of the rows with five seeds.
#
# A row is identified by its name and seed.  If you change FOCUS, PRECISION or other options, also change OUT.

ifndef ROWS_MK
ROWS_MK := yes
include $(dir $(lastword $(MAKEFILE_LIST)))sets.mk

SMALL     ?=
# One Makefile may have clones.mk too, whose defaults are others.
gpus       = $(or $(GPUS),$(if $(SMALL),1,4))
FOCUS     ?= fixed
# Seeds of Table 2 and Figure 1, and of Tables 3 and 4, which share theirs.
SEED_2    ?= 0
SEED_34   ?= 1
# fp32, tf32 or bf16; tf32 is what the published code gets from PyTorch's defaults.
precision  = $(or $(PRECISION),$(if $(SMALL),fp32,tf32))
# More options of advtrain and of aaeval, such as ADVTRAIN='--threads 1'.
ADVTRAIN  ?=
AAEVAL    ?= $(if $(SMALL),--attacks apgd-ce$(comma)apgd-t --iterations 20)

comma     := ,
runs      := $(OUT)/$(if $(SMALL),small-runs,runs)
many      := $(if $(SMALL),64,1024)
twice     := $(if $(SMALL),128,2048)
four_fold := $(if $(SMALL),256,4096)
small     := 2000
small_test := 1000
# $(call processes,TOOL): one process, or one for each GPU.
processes = $(run)$(if $(filter 1,$(gpus)),$(1),torchrun --standalone --nproc_per_node=$(gpus) -m datarobust.tools.$(1))

# ------------------------------------------------------------------------------------------------------------- data

small_c10       := c10-small
small_c10-test  := c10-test-small
small_c100      := c100-small
small_c100-test := c100-test-small
# $(call set,NAME): a data set, or a few points of it.
set              = $(OUT)/$(if $(SMALL),$(small_$(1)),$(1)).zarr
# $(call generated,NAME): a generated set; none in small.
generated        = $(if $(SMALL),,$(OUT)/$(1).zarr)
# $(call row_there,SET,GENERATED): whether the files of a row can be had.
row_there        = $(and $(source_$(1)),$(source_$(1)-test),$(if $(SMALL),yes,$(source_$(2))))
# $(call rows_absent,SETS,GENERATED): shell commands that tell which files cannot.
rows_absent      = $(call absent,$(1) $(1:%=%-test) $(if $(SMALL),,$(2)))

$(OUT)/%-test-small.zarr: $(OUT)/%-test.zarr
	$(run)dataset subset $< --select first:$(small_test) -o $@

$(OUT)/%-small.zarr: $(OUT)/%.zarr
	$(run)dataset subset $< --select first:$(small) -o $@

$(runs): | $(OUT)
	@mkdir -p $@

$(runs)/vp.txt: | $(runs)
	awk 'BEGIN { for (row = $(many); row < 2 * $(many); row++) print row }' > $@.part && mv $@.part $@

# ------------------------------------------------------------------------------------------------- words of the rows

# $(call on,SET,NORM,GENERATED): a data set, its test set, its generated images, and the norm.
on       = $(call set,$(1)) --test $(call set,$(1)-test) $(addprefix --generated ,$(call generated,$(3))) --norm $(2)
c10inf   = $(call on,c10,linf,20m)
c10l2    = $(call on,c10,l2,50m)
c100inf  = $(call on,c100,linf,c100-50m)

# $(call size,EPOCHS,BATCH): the size of the training.
size     = $(if $(SMALL),--arch wrn-10-1 --epochs $(if $(filter 2000 3000,$(1)),8,6) --batch 64 --bn-group 0 --lr 0.1,--arch wrn-28-10 --epochs $(1) --batch $(2))
2400     = $(call size,2400,2048)
1600     = $(call size,1600,2048)

v        = first:$(many)
2v       = first:$(twice)
vp       = $(runs)/vp.txt
# $(call ranked,SET,NORM): its ranking.
ranked   = $(basename $(call set,$(1)))-$(2).zarr
s_inf    = $(call ranked,c10,linf):least:$(many)
2s_inf   = $(call ranked,c10,linf):least:$(twice)
4s_inf   = $(call ranked,c10,linf):least:$(four_fold)
m_inf    = $(call ranked,c10,linf):most:$(many)
s_l2     = $(call ranked,c10,l2):least:$(many)
2s_l2    = $(call ranked,c10,l2):least:$(twice)
s_100    = $(call ranked,c100,linf):least:$(many)
2s_100   = $(call ranked,c100,linf):least:$(twice)

# $(call seen,POINTS): tracked, and in focus as FOCUS says; $(call star,POINTS): in focus as the paper's "*" has it.
seen     = --track $(1) $(if $(filter none,$(FOCUS)),,--focus $(1) --focus-mode $(FOCUS) $(if $(filter inject,$(FOCUS)),$(share)))
star     = --track $(1) --focus $(1) --focus-mode inject $(share)
share    = --focus-batch $(if $(SMALL),4,32)
$(if $(filter fixed oversample inject none,$(FOCUS)),,$(error FOCUS is fixed, oversample, inject or none, not '$(FOCUS)'))

# ------------------------------------------------------------------------------------------------------------- rows

# Table 2, and Figure 1 (b): c10inf-v_m beside c10inf-v_s.
advtrain_c10inf-v_v      = $(c10inf)  $(2400) --hold-out $(v)     --track $(v)           --schedule original
advtrain_c10inf-vp_v     = $(c10inf)  $(2400) --hold-out $(vp)    $(call seen,$(v))      --schedule original
advtrain_c10inf-v_none   = $(c10inf)  $(2400) --hold-out $(v)     --track none           --schedule original
advtrain_c10inf-s_s      = $(c10inf)  $(2400) --hold-out $(s_inf) --track $(s_inf)       --schedule original
advtrain_c10inf-v_s      = $(c10inf)  $(2400) --hold-out $(v)     $(call seen,$(s_inf))  --schedule original
advtrain_c10inf-v_m      = $(c10inf)  $(2400) --hold-out $(v)     $(call seen,$(m_inf))  --schedule original
advtrain_c10inf-v_2s     = $(c10inf)  $(2400) --hold-out $(v)     $(call seen,$(2s_inf)) --schedule original
advtrain_c10inf-v_4s     = $(c10inf)  $(2400) --hold-out $(v)     $(call seen,$(4s_inf)) --schedule original
advtrain_c10inf-v-a_s    = $(c10inf)  $(2400) --hold-out $(v)     $(call seen,$(s_inf))  --schedule a
advtrain_c10inf-v-b_s    = $(c10inf)  $(2400) --hold-out $(v)     $(call seen,$(s_inf))  --schedule b
advtrain_c10inf-v-c_s    = $(c10inf)  $(2400) --hold-out $(v)     $(call seen,$(s_inf))  --schedule c
advtrain_c10inf-v-d_s    = $(c10inf)  $(2400) --hold-out $(v)     $(call seen,$(s_inf))  --schedule d
advtrain_c10inf-v-e_s    = $(c10inf)  $(2400) --hold-out $(v)     $(call seen,$(s_inf))  --schedule e

# Table 3: c10inf-v_v and c10inf-v-c_s once more, and these.
advtrain_c10l2-v_v       = $(c10l2)   $(1600) --hold-out $(v)     --track $(v)           --schedule original
advtrain_c10l2-v-c_s     = $(c10l2)   $(1600) --hold-out $(v)     $(call seen,$(s_l2))   --schedule c
advtrain_c100inf-v_v     = $(c100inf) $(1600) --hold-out $(v)     --track $(v)           --schedule original
advtrain_c100inf-v-c_s   = $(c100inf) $(1600) --hold-out $(v)     $(call seen,$(s_100))  --schedule c

# Table 4: batches of 2,080, but 2,048 and 32 in the rows with a star.
advtrain_c10inf_2v       = $(c10inf)  $(call size,3000,2080) --hold-out none $(call seen,$(2v))     --schedule original
advtrain_c10inf-c_2s     = $(c10inf)  $(call size,3000,2080) --hold-out none $(call seen,$(2s_inf)) --schedule c
advtrain_c10inf-c_2s-star = $(c10inf) $(call size,3000,2048) --hold-out none $(call star,$(2s_inf)) --schedule c
advtrain_c10l2_2v        = $(c10l2)   $(call size,2000,2080) --hold-out none $(call seen,$(2v))     --schedule original
advtrain_c10l2-c_2s      = $(c10l2)   $(call size,2000,2080) --hold-out none $(call seen,$(2s_l2))  --schedule c
advtrain_c10l2-c_2s-star = $(c10l2)   $(call size,2000,2048) --hold-out none $(call star,$(2s_l2))  --schedule c
advtrain_c100inf_2v      = $(c100inf) $(call size,2000,2080) --hold-out none $(call seen,$(2v))     --schedule original
advtrain_c100inf-c_2s    = $(c100inf) $(call size,2000,2080) --hold-out none $(call seen,$(2s_100)) --schedule c
advtrain_c100inf-c_2s-star = $(c100inf) $(call size,2000,2048) --hold-out none $(call star,$(2s_100)) --schedule c

# ------------------------------------------------------------------------------------------- training and evaluation

# $(call option,ROW,NAME): what a row says after --NAME.
option   = $(patsubst @%,%,$(filter @%,$(subst --$(2) ,@,$(advtrain_$(1)))))
# $(call files,ROW): the files that a row names.
files    = $(sort $(foreach word,$(advtrain_$(1)),$(filter %.zarr %.txt,$(firstword $(subst :, ,$(word))))))
# $(call weights,ROW): where nothing is tracked no epoch is best.
weights  = $(if $(filter none,$(call option,$(1),track)),,best) last
# $(call verdicts,ROW,SEED): its evaluations.
verdicts = $(foreach which,$(call weights,$(1)),$(runs)/$(1).$(2).$(which).zarr)

.SECONDEXPANSION:

# RUNS/ROW.SEED.run, into which advtrain writes the name of the run when it is finished; one that was interrupted goes on.
$(runs)/%.run: $$(call files,$$(basename $$*)) | $(runs)
	$(call processes,advtrain) $(or $(advtrain_$(basename $*)),$(error no row is called $(basename $*))) \
	  --precision $(precision) --seed $(subst .,,$(suffix $*)) $(ADVTRAIN) -o $(runs)/$* > $@.part && mv $@.part $@

$(runs)/%.jsonl: $(runs)/%.run $$(call option,$$(basename $$*),test)
	$(call processes,aaeval) $(call option,$(basename $*),test) \
	  $(foreach which,$(call weights,$(basename $*)),$(runs)/$*/$(which).safetensors -o $(runs)/$*.$(which).zarr) \
	  --norm $(call option,$(basename $*),norm) $(AAEVAL) > $@.part && mv $@.part $@

# $(call table,TABLE,ROWS,THERE,SEED,ABSENT): the targets TABLE/ROW, and TABLE, the rows that can be had beside the paper's.
define new_table
.PHONY: $(2:%=$(1)/%)
$(2:%=$(1)/%): $(1)/%: $(runs)/%.$(4).jsonl
	@printf '%s\n' $$<

$(OUT)/$(if $(SMALL),small-)$(1).md: $(here)/$(1).tsv $(3:%=$(runs)/%.$(4).jsonl)
	$(run)figure table $(foreach row,$(3),$(runs)/$(row).$(4) $(call verdicts,$(row),$(4)) --name $(row)) --beside $$< \
	  -o $$@ --tsv $$(basename $$@).tsv --overwrite

$(1): $(if $(3),$(OUT)/$(if $(SMALL),small-)$(1).md)
	@$(5)
	@$$(call made,$$^)
endef
table    = $(eval $(call new_table,$(1),$(2),$(strip $(3)),$(4),$(5)))

endif
