# Section 4 on scikit-learn's 1,797 real digits, from raw data to a table and pictures, with its own denoiser.
# Two CPU cores: a few minutes.  No GPU, no download.
#
# A classifier and a denoiser are trained on 1,497 digits.  The classifier then labels the 300 other digits, their clones,
# and samples.  Then follow Table 1 in small: distances between the 300 most or least robust digits and their clones, by the
# classifier's features, and between ten clones of 32 digits each; and Figures 3 and 7: ten clones of 16 digits.
# Results: results/digits-clones.md and the pictures beside it.
#
#   make -C examples digits-clones

.PHONY: digits-clones
digits-clones:
include $(dir $(lastword $(MAKEFILE_LIST)))digits-sets.mk

EPOCHS   ?= 60
# How many digits of each end for O:C, and for C:C and the pictures.
MANY     ?= 300
FEW      ?= 32
ends     := most least
clones_pictures := $(norms:%=$(OUT)/digits-clones-%.png)
clones_lines    := $(foreach norm,$(norms),$(foreach end,$(ends),$(OUT)/digits-$(norm)-$(end).oc.json $(OUT)/digits-$(norm)-$(end).cc.json))

digits-clones: $(OUT)/judgement.json $(OUT)/digits-clones.md $(clones_pictures)
	@printf '\nShares of images with the right label, as the classifier sees them:\n'; cat $<
	@printf '\nTable 1, of digits:\n'; cat $(OUT)/digits-clones.md
	@printf '\nPictures:\n'; printf '  %s\n' $(clones_pictures)

# Weights are there before a training is finished, so nothing depends on them: a finished training has printed its name into a .run.

# One step of PGD and no weight on it: an ordinary training.
$(OUT)/judge.run: $(OUT)/train.zarr $(OUT)/held-out.zarr
	$(run)advtrain $< --test $(OUT)/held-out.zarr --arch wrn-10-1 --epochs 6 --batch 64 --augment none --steps 1 --beta 0 \
	  --bn-group 0 --ema 0.9 --hold-out none --track none -o $(OUT)/judge > $@.part && mv $@.part $@

$(OUT)/denoiser.run: $(OUT)/train.zarr
	$(run)edmtrain $< --epochs $(EPOCHS) --lr 2e-3 -o $(OUT)/denoiser > $@.part && mv $@.part $@

# The same command, with a judge: what is trained is not trained again.
$(OUT)/judgement.json: $(OUT)/train.zarr $(OUT)/denoiser.run $(OUT)/judge.run
	$(run)edmtrain $< --epochs $(EPOCHS) --lr 2e-3 -o $(OUT)/denoiser --test $(OUT)/held-out.zarr \
	  --judge $(OUT)/judge/last.safetensors --judged 300 --json > $@.part && mv $@.part $@

# $(call of_clones,NORM,END,COUNT,REPEATS)
define of_clones
$(OUT)/digits-$(1)-$(2)-$(3)x$(4).zarr: $(OUT)/digits.zarr $(OUT)/denoiser.run $(OUT)/digits-$(1).zarr
	$(run)clone $$< --model $(OUT)/denoiser/last.safetensors --select $(OUT)/digits-$(1).zarr:$(2):$(3) --repeats $(4) -o $$@
endef
define of_distances
$(OUT)/digits-$(1)-$(2).oc.json: $(OUT)/digits.zarr $(OUT)/digits-$(1)-$(2)-$(MANY)x1.zarr $(OUT)/judge.run
	$(run)fid $(OUT)/digits.zarr $(OUT)/digits-$(1)-$(2)-$(MANY)x1.zarr --features classifier:$(OUT)/judge/last.safetensors > $$@.part && mv $$@.part $$@

$(OUT)/digits-$(1)-$(2).cc.json: $(OUT)/digits.zarr $(OUT)/digits-$(1)-$(2)-$(FEW)x10.zarr
	$(run)fid $$^ --features pixels --kid 0 -q > $$@.part && mv $$@.part $$@
endef
$(foreach norm,$(norms),$(foreach end,$(ends),$(eval $(call of_clones,$(norm),$(end),$(MANY),1))))
$(foreach norm,$(norms),$(foreach end,$(ends),$(eval $(call of_clones,$(norm),$(end),$(FEW),10))))
$(foreach norm,$(norms),$(foreach end,$(ends),$(eval $(call of_distances,$(norm),$(end)))))

$(OUT)/digits-clones.md: $(clones_lines)
	awk -f $(here)/distances.awk $^ > $@.part && mv $@.part $@

$(clones_pictures): $(OUT)/digits-clones-%.png: $(OUT)/digits.zarr $(OUT)/digits-%-most-$(FEW)x10.zarr $(OUT)/digits-%-least-$(FEW)x10.zarr
	$(run)figure clones $^ --name 'most robust, $*' --name 'least robust, $*' -o $@ --tsv $(basename $@).tsv --overwrite
