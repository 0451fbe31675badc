# Tables 2 to 4 and Figure 1 (b) on scikit-learn's real digits: does a focus on the least robust points help?
# Two CPU cores: a minute.  No download.
#
# There are two adversarial trainings.  Each has 128 points in focus, drawn 5.2 times as often as others: the least robust ones
# (s), or random ones.  AutoAttack then attacks both networks on 300 digits that were not trained on, and the difference is
# tested for significance.  One pair of trainings says nothing about the variance of training; small.mk has five seeds on
# real images.
#
#   make -C examples digits-focus

.PHONY: digits-focus
digits-focus:
include $(dir $(lastword $(MAKEFILE_LIST)))digits-sets.mk

SEED ?= 0
FOCUS_EPOCHS ?= 6
focus_pictures := $(OUT)/digits-training.svg $(OUT)/digits-deciles.svg
focus_sets     := focus random
chosen_focus   := $(OUT)/train-linf.zarr:least:128
chosen_random  := random:128:$(SEED)
verdicts       := $(focus_sets:%=$(OUT)/aa-%.zarr)

digits-focus: $(OUT)/digits-compared.json $(OUT)/digits-table.md $(focus_pictures)
	@printf '\nAutoAttack after training with the least robust points in focus, and with random ones:\n'; cat $(OUT)/digits-table.md
	@printf '\nThe difference, least robust minus random:\n'; cat $<

$(OUT)/train-linf.zarr: $(OUT)/train.zarr
	$(run)sens-rank $< --norm linf -o $@

$(OUT)/held-out-linf.zarr: $(OUT)/held-out.zarr $(OUT)/train.zarr
	$(run)sens-rank $< --against $(OUT)/train.zarr --norm linf -o $@

# Both are tracked on the least robust points, so that their curves and their best epochs mean the same.
$(focus_sets:%=$(OUT)/with-%.run): $(OUT)/with-%.run: $(OUT)/train.zarr $(OUT)/held-out.zarr $(OUT)/train-linf.zarr
	$(run)advtrain $< --test $(OUT)/held-out.zarr --arch wrn-10-1 --epochs $(FOCUS_EPOCHS) --batch 64 --bn-group 0 --augment none \
	  --eps 0.1 --step 0.025 --ema 0.95 --hold-out none --track $(OUT)/train-linf.zarr:least:128 --focus $(chosen_$*) \
	  --focus-mode fixed --seed $(SEED) -o $(OUT)/with-$* > $@.part && mv $@.part $@

$(verdicts): $(OUT)/aa-%.zarr: $(OUT)/held-out.zarr $(OUT)/with-%.run
	$(run)aaeval $< $(OUT)/with-$*/last.safetensors --eps 0.1 --fast -o $@

$(OUT)/digits-compared.json: $(OUT)/aa-random.zarr $(OUT)/aa-focus.zarr
	$(run)aacompare $^ > $@.part && mv $@.part $@

$(OUT)/digits-table.md: $(focus_sets:%=$(OUT)/with-%.run) $(verdicts)
	$(run)figure table $(focus_sets:%=$(OUT)/with-%) $(verdicts) --name 'least robust in focus' --name 'random in focus' -o $@ --overwrite

$(OUT)/digits-training.svg: $(focus_sets:%=$(OUT)/with-%.run)
	$(run)figure training $(focus_sets:%=$(OUT)/with-%) --name 'least robust in focus' --name 'random in focus' -o $@ --overwrite

$(OUT)/digits-deciles.svg: $(verdicts) $(OUT)/held-out-linf.zarr
	$(run)figure deciles $(verdicts) --ranking $(OUT)/held-out-linf.zarr --quantiles 5 \
	  --name 'least robust in focus' --name 'random in focus' -o $@ --overwrite
