# Denoisers and clones of the CIFAR sets, for the recipes that read this file (Section 4, Appendix B).
#
# Denoisers.  The paper's are those of Karras et al. 2022 (CIFAR-10) and of Wang et al. 2023 (CIFAR-100), 223 MB each, in
# DATA: edm-cifar10-32x32-cond-vp.pkl, from the page of the EDM repository, and edm-cifar100-32x32-cond-vp.pkl, from that
# of DM-Improves-AT.  They are programs; model import reads the weights out of them and runs nothing.  Both are under CC
# BY-NC-SA 4.0, and so is what is made of them.
#
# The grid point.  The paper publishes its grid (Appendix B) and not the point of it that was chosen, nor the formula of its
# start, nor the label that a clone is made for: these recipes take clone's defaults, the centre of the grid, the start that
# changes the program of Karras et al. least, and each image's own label.  CLONE='--rho 1.5' takes others, in another OUT.
#
# Hardware.  A clone takes 1.65 TFLOP: PRECISION=bf16 makes one in 1.2 s on two CPU cores that know bfloat16, fp32 in
# 5.5 s (tests/bench/RESULTS.md).
# GPUS=4 has four processes, one a GPU; BATCH=512 images at a time.
#
# SMALL=yes takes 2,000 images of CIFAR-10 and a small denoiser, trained on them for EPOCHS=10 epochs (small.mk: 24): enough
# to see that the recipes run, and the order of the pixel distances in Table 1, not what clones look like.

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
cloning  = $(run)$(if $(filter 1,$(cloning_gpus)),clone,torchrun --standalone --nproc_per_node=$(cloning_gpus) -m datarobust.tools.clone)

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
	cp $(OUT)/edm-small-c10/last.safetensors $@

# $(call clones_of,SET,NORM,END,COUNT,REPEATS): the name of the clones of the COUNT least or most robust points of a set.
clones_of = $(OUT)/$(1)-$(2)-$(3)-$(4)x$(5).zarr
define of_clones
$(call clones_of,$(1),$(2),$(3),$(4),$(5)): $(OUT)/$(1).zarr $(OUT)/edm-$(1).safetensors $(OUT)/$(1)-$(2).zarr
	$(cloning) $(OUT)/$(1).zarr --model $(OUT)/edm-$(1).safetensors --select $(OUT)/$(1)-$(2).zarr:$(3):$(4) \
	  --repeats $(5) --precision $(cloning_precision) $(if $(BATCH),--batch $(BATCH)) $(CLONE) -o $$@
endef
# $(call clones_needed,COUNT,REPEATS): rules for all sets, norms and ends.
clones_needed = $(foreach set,c10 c100 small-c10,$(foreach norm,$(norms),$(foreach end,most least,\
  $(eval $(call of_clones,$(set),$(norm),$(end),$(1),$(2))))))

endif
