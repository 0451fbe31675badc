# Denoisers and clones of the CIFAR sets (Section 4, Appendix B).  Other recipes include this file.
#
# Denoisers.  The paper uses those of Karras et al. 2022 (CIFAR-10) and of Wang et al. 2023 (CIFAR-100), 223 MB each.  Put
# edm-cifar10-32x32-cond-vp.pkl, from the EDM repository, and edm-cifar100-32x32-cond-vp.pkl, from the DM-Improves-AT
# repository, into DATA.  The files contain programs; model import reads the weights and executes nothing.  Both are
# licensed CC BY-NC-SA 4.0, and so are images made with them.
#
# The grid point.  The paper gives its grid (Appendix B), but not the chosen point, the formula of the start, or the label
# that a clone is made for.  These recipes use the defaults of clone: the centre of the grid, the start that changes the
# program of Karras et al. least, and the label of each image.  CLONE='--rho 1.5' changes them; then also change OUT.
#
# Hardware.  A clone takes 1.65 TFLOP.  On two CPU cores with bfloat16 that is 1.2 s with PRECISION=bf16, 5.5 s with fp32
# (tests/bench/RESULTS.md).  GPUS=4 starts four processes, one per GPU.  BATCH=512 sets the number of images at a time.
#
# SMALL=yes uses 2,000 images of CIFAR-10 and a small denoiser, trained on them for EPOCHS=10 epochs (small.mk: 24).  That
# is enough to test the recipes and to see the order of the pixel distances in Table 1, but the clones do not look right.

ifndef CLONES_MK
CLONES_MK := yes
include $(dir $(lastword $(MAKEFILE_LIST)))sets.mk

SMALL     ?=
# One Makefile may have rows.mk too, whose defaults are others.
cloning_gpus      = $(or $(GPUS),1)
cloning_precision = $(or $(PRECISION),$(if $(SMALL),fp32,bf16))
BATCH     ?=
CLONE     ?=
EPOCHS    ?= 10
small_images := 2000

cloned_sets     := $(if $(SMALL),small-c10,c10 c100)
name_small-c10  := 2,000 images of CIFAR-10
source_small-c10 := $(source_c10)
files_small-c10 := $(files_c10)
edm_c10         := $(wildcard $(DATA)/edm-cifar10-32x32-cond-vp.pkl)
edm_c100        := $(wildcard $(DATA)/edm-cifar100-32x32-cond-vp.pkl)
# $(call clonable,SETS): those whose images and denoiser can be had.
clonable = $(strip $(foreach set,$(call there,$(1)),$(if $(SMALL)$(edm_$(set)),$(set))))
# $(call unclonable,SETS): shell commands that tell which denoisers cannot be had.
unclonable = $(foreach set,$(filter-out $(call clonable,$(1)),$(call there,$(1))),echo 'left out: $(name_$(set)), no edm-*-32x32-cond-vp.pkl of it in DATA=$(DATA)' >&2;)
# $(call on_gpus,COMMAND): the command, in as many processes as GPUS says.
on_gpus = $(run)$(if $(filter 1,$(cloning_gpus)),$(1),torchrun --standalone --nproc_per_node=$(cloning_gpus) -m datarobust.tools.$(1))

$(OUT)/small-c10.zarr: $(OUT)/c10.zarr
	$(run)dataset subset $< --select first:$(small_images) --name small-cifar10 -o $@

define of_denoiser
$(OUT)/edm-$(1).safetensors: $(edm_$(1)) | $(OUT)
	$$(if $(edm_$(1)),,$$(error $(name_$(1)): no edm-*-32x32-cond-vp.pkl of it in DATA=$(DATA)))
	$(run)model import $(edm_$(1)) -o $$@
endef
$(foreach set,c10 c100,$(eval $(call of_denoiser,$(set))))

$(OUT)/edm-small-c10.safetensors: $(OUT)/small-c10.zarr
	$(run)edmtrain $< --epochs $(EPOCHS) --width 32 --mult 1,2,2 --blocks 1 --precision $(cloning_precision) -o $(OUT)/edm-small-c10
	cp $(OUT)/edm-small-c10/last.safetensors $@.part && mv $@.part $@

# $(call clones_of,SET,NORM,END,COUNT,REPEATS): the name of the clones of the COUNT least or most robust points of a set.
clones_of = $(OUT)/$(1)-$(2)-$(3)-$(4)x$(5).zarr
define of_clones
$(call clones_of,$(1),$(2),$(3),$(4),$(5)): $(OUT)/$(1).zarr $(OUT)/edm-$(1).safetensors $(OUT)/$(1)-$(2).zarr
	$(call on_gpus,clone) $(OUT)/$(1).zarr --model $(OUT)/edm-$(1).safetensors --select $(OUT)/$(1)-$(2).zarr:$(3):$(4) \
	  --repeats $(5) --precision $(cloning_precision) $(if $(BATCH),--batch $(BATCH)) $(CLONE) -o $$@
endef
# $(call clones_needed,COUNT,REPEATS): rules for all sets, norms and ends.
clones_needed = $(foreach set,c10 c100 small-c10,$(foreach norm,$(norms),$(foreach end,most least,\
  $(eval $(call of_clones,$(set),$(norm),$(end),$(1),$(2))))))

endif
