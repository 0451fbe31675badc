# A denoiser of 28 x 28 greyscale images, judged by a classifier (Sections 4 and C): does it learn digits, and do clones keep
# their class?  It is trained on 4,000 images of MNIST (M of sets.mk) for EPOCHS=16, in bf16.
#
# A classifier is trained on 6,000 real images.  It then labels 500 images that were not trained on, one clone of each, and 500
# samples made from labels alone.  Result, fraction with the right label: results/mnist-denoiser.json; pictures, half size:
# results/mnist-clones.png.
#
# Hardware: twelve minutes of one CPU core with bfloat16 (computed from its rates); PRECISION=fp32 for other processors.
#
#   make -C examples mnist-denoiser DATA=/folder/of/published/files OUT=/folder/of/results

.PHONY: mnist-denoiser
mnist-denoiser:
include $(dir $(lastword $(MAKEFILE_LIST)))sets.mk

mnist_epochs    = $(or $(EPOCHS),16)
mnist_precision = $(or $(PRECISION),bf16)
mnist_folder   := $(OUT)/mnist
mnist_judge    := $(mnist_folder)/judge/last.safetensors
mnist_denoiser := $(mnist_folder)/denoiser/last.safetensors
# The set is 60,000 images in random order: the first are learned, the last are for the judge.
mnist_learned  ?= first:4000
mnist_known    ?= first:6000
mnist_held     ?= !first:59500

mnist-denoiser: $(if $(source_M),$(OUT)/mnist-denoiser.json $(OUT)/mnist-clones.png)
	@$(call absent,M)
	@$(call made,$^)
	@cat $<

$(mnist_folder): | $(OUT)
	@mkdir -p $@

$(mnist_folder)/train.zarr: $(OUT)/M.zarr | $(mnist_folder)
	$(run)dataset subset $< --select '$(mnist_learned)' -o $@

$(mnist_folder)/known.zarr: $(OUT)/M.zarr | $(mnist_folder)
	$(run)dataset subset $< --select '$(mnist_known)' -o $@

$(mnist_folder)/held-out.zarr: $(OUT)/M.zarr | $(mnist_folder)
	$(run)dataset subset $< --select '$(mnist_held)' -o $@

# Weights are there before a training is finished, so nothing depends on them: a finished training has printed its name into a .run.

# One step of PGD and no weight on it: an ordinary training.
$(mnist_folder)/judge.run: $(mnist_folder)/known.zarr $(mnist_folder)/held-out.zarr
	$(run)advtrain $< --test $(mnist_folder)/held-out.zarr --arch wrn-10-1 --epochs 3 --batch 64 --augment none --steps 1 \
	  --beta 0 --bn-group 0 --ema 0.9 --hold-out none --track none --precision $(mnist_precision) -o $(mnist_folder)/judge \
	  > $@.part && mv $@.part $@

mnist_training = $(run)edmtrain $(mnist_folder)/train.zarr --epochs $(mnist_epochs) --lr 2e-3 --width 16 --mult 1,2,2 --blocks 1 \
  --precision $(mnist_precision) -o $(mnist_folder)/denoiser

$(mnist_folder)/denoiser.run: $(mnist_folder)/train.zarr
	$(mnist_training) > $@.part && mv $@.part $@

# The same command, with a judge: what is trained is not trained again.
$(OUT)/mnist-denoiser.json: $(mnist_folder)/denoiser.run $(mnist_folder)/judge.run $(mnist_folder)/held-out.zarr
	$(mnist_training) --test $(mnist_folder)/held-out.zarr --judge $(mnist_judge) --judged 500 --json > $@.part && mv $@.part $@

$(mnist_folder)/clones.zarr: $(mnist_folder)/held-out.zarr $(mnist_folder)/denoiser.run
	$(run)clone $< --model $(mnist_denoiser) --select first:16 --repeats 10 --precision $(mnist_precision) -o $@

$(OUT)/mnist-clones.png: $(mnist_folder)/held-out.zarr $(mnist_folder)/clones.zarr
	$(run)figure clones $^ --layout rows --name 'MNIST, held out' -o $@ --overwrite
