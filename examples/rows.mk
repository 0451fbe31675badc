# Rows of Tables 2 to 4 and of Figure 1 (b): one training and one evaluation each, for the recipes that read this file.
#
# Names.  C10inf,-A,c(B) of the paper is c10inf-A-c_B here; (.) is "none", v' is vp, "*" is -star.  A row holds A out of
# the training, tracks B with PGD-40, which picks the best epoch, and has B in focus where B is trained on.
#
#   v    the first 1,024 points: CIFAR's order is random, and the code that the paper modifies takes these
#   vp   the 1,024 points after them
#   2v   the first 2,048
#   s    the 1,024 least robust points in the norm of the row; 2s and 4s are 2,048 and 4,096 of them
#   m    the 1,024 most robust
#
# Focus.  The paper's rows without a star relied on an effect of tracking that its Appendix D suspects.  There is none (see
# glitch.mk), so a focus has to be asked for: FOCUS=oversample has all points in focus in every epoch (the authors say of
# theirs that they were fixed parts of the training data in every epoch; other points are drawn about once in five epochs);
# FOCUS=inject appends 32 PGD-40 examples to every batch, as the rows with a star do; FOCUS=none is what the published code
# does: these rows then differ by their schedules, their hold-out and by which epoch is the best, and else not at all.
#
# Data in DATA, beside CIFAR's (sets.mk): 20m.npz (61 GB), 50m.npz and cifar100-50m.npz (154 GB each), the generated images
# of Wang et al. 2023, whose repository DM-Improves-AT says where the parts are and merges them.  They are imported once,
# in random order, which takes their size again on the disk; training streams them.
#
# Hardware.  The paper: 4 x A100 40 GB, 60 hours a row of 2400 epochs, that is 240 A100-hours.  Here GPUS=4 processes on one
# machine by default; GPUS=1 is one process, on the processor where there is no GPU.  examples/slurm and
# examples/kubernetes have one row as a job.
#
# SMALL=yes makes a row in three minutes of a processor core, evaluation included: WRN-10-1, 6 epochs (8 where the paper has a
# quarter more) of 2,000 points of CIFAR-10 in batches of 64, sets of 64 for sets of 1,024, largest learning rate 0.1, no
# generated images, 500 test images and two of AutoAttack's four attacks, of 20 steps.  small.mk runs ten of the rows with
# three seeds and says what can be seen at that size.
#
# A row is told by its name and seed: another FOCUS or PRECISION, or more options, take another OUT.

ifndef ROWS_MK
ROWS_MK := yes
include $(dir $(lastword $(MAKEFILE_LIST)))sets.mk

SMALL     ?=
# One Makefile may have clones.mk too, whose defaults are others.
gpus       = $(or $(GPUS),$(if $(SMALL),1,4))
FOCUS     ?= oversample
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
small_test := 500
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
	awk 'BEGIN { for (row = $(many); row < 2 * $(many); row++) print row }' > $@

# ------------------------------------------------------------------------------------------------------- selections

# $(call points,NAME,SET,NORM): a selection of advtrain.
points   = $(or $(call points_$(strip $(1)),$(call ranking,$(2),$(3))),$(error no set of points called '$(1)'))
# $(call ranking,SET,NORM): the ranking of a data set.
ranking  = $(basename $(call set,$(1)))-$(2).zarr
points_v    = first:$(many)
points_2v   = first:$(twice)
points_vp   = $(runs)/vp.txt
points_none = none
points_s    = $(1):least:$(many)
points_2s   = $(1):least:$(twice)
points_4s   = $(1):least:$(four_fold)
points_m    = $(1):most:$(many)
# $(call made_of,NAMES,SET,NORM): the files that these selections read.
made_of  = $(sort $(if $(filter s 2s 4s m,$(1)),$(call ranking,$(2),$(3))) $(if $(filter vp,$(1)),$(runs)/vp.txt))

# ------------------------------------------------------------------------------------------------------------- rows

focus_oversample = --focus $(1) --focus-mode oversample
focus_inject     = --focus $(1) --focus-mode inject --focus-batch $(if $(SMALL),4,32)
focus_none       =
$(if $(filter oversample inject none,$(FOCUS)),,$(error FOCUS is oversample, inject or none, not '$(FOCUS)'))
# $(call focus_of,HOLD-OUT,TRACK,HOW,SET,NORM): nothing where the tracked points are held out, or none are tracked.
focus_of = $(if $(filter none $(1),$(2)),,$(call focus_$(3),$(call points,$(2),$(4),$(5))))

# $(call size,EPOCHS,BATCH): the size of the training.
size     = $(if $(SMALL),--arch wrn-10-1 --epochs $(if $(filter 2000 3000,$(1)),8,6) --batch 64 --bn-group 0 --lr 0.1,--arch wrn-28-10 --epochs $(1) --batch $(2))

# $(call weights,TRACK): where nothing is tracked no epoch is best.
weights  = $(if $(filter none,$(1)),,best) last

# $(call row,NAME,SEED,SET,NORM,GENERATED,EPOCHS,BATCH,HOLD-OUT,TRACK,FOCUS,SCHEDULE): the rules of a row.  The name of the
# run is written into NAME.SEED.run by advtrain itself when it is finished; a training that was interrupted goes on.
define new_row
verdicts_$(1).$(2) := $(foreach which,$(call weights,$(9)),$(runs)/$(1).$(2).$(which).zarr)

$(runs)/$(1).$(2).run: $(call set,$(3)) $(call set,$(3)-test) $(call generated,$(5)) $(call made_of,$(8) $(9),$(3),$(4)) | $(runs)
	$(call processes,advtrain) $(call set,$(3)) --test $(call set,$(3)-test) $(addprefix --generated ,$(call generated,$(5))) \
	  --norm $(4) $(call size,$(6),$(7)) --hold-out $(call points,$(8),$(3),$(4)) --track $(call points,$(9),$(3),$(4)) \
	  $(call focus_of,$(8),$(9),$(10),$(3),$(4)) --schedule $(11) --precision $(precision) --seed $(2) $(ADVTRAIN) \
	  -o $(runs)/$(1).$(2) > $$@

$(runs)/$(1).$(2).jsonl: $(runs)/$(1).$(2).run $(call set,$(3)-test)
	$(call processes,aaeval) $(call set,$(3)-test) \
	  $(foreach which,$(call weights,$(9)),$(runs)/$(1).$(2)/$(which).safetensors -o $(runs)/$(1).$(2).$(which).zarr) \
	  --norm $(4) $(AAEVAL) > $$@
endef

# Recipes that share a row define it once.
row      = $(if $(defined_$(1).$(2)),,$(eval defined_$(1).$(2) := yes)$(eval \
  $(call new_row,$(1),$(2),$(3),$(4),$(5),$(6),$(7),$(8),$(9),$(10),$(11))))

# $(call table,TABLE,ROWS,THERE,SEED,ABSENT): the targets TABLE/ROW, and TABLE, the rows that can be had beside the paper's.
define new_table
.PHONY: $(2:%=$(1)/%)
$(2:%=$(1)/%): $(1)/%: $(runs)/%.$(4).jsonl
	@printf '%s\n' $$<

$(OUT)/$(if $(SMALL),small-)$(1).md: $(here)/$(1).tsv $(3:%=$(runs)/%.$(4).jsonl)
	$(run)figure table $(foreach row,$(3),$(runs)/$(row).$(4) $(verdicts_$(row).$(4)) --name $(row)) --beside $$< \
	  -o $$@ --tsv $$(basename $$@).tsv --overwrite

$(1): $(if $(3),$(OUT)/$(if $(SMALL),small-)$(1).md)
	@$(5)
	@$$(call made,$$^)
endef
table    = $(eval $(call new_table,$(1),$(2),$(strip $(3)),$(4),$(5)))

endif
