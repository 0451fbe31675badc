# Every step of the paper on scikit-learn's 1,797 real digits: import, ranking, clones, Fréchet distance, training with the
# least robust points or random points in focus, AutoAttack, comparison, maps.  It ends with one page.
# Two CPU cores: three minutes.  No GPU, no download.
#
#   make demo          in the root of the repository

.PHONY: demo
demo:
include $(dir $(lastword $(MAKEFILE_LIST)))digits-sets.mk

# Less than digits-clones.mk takes alone.
EPOCHS ?= 30
MANY   ?= 100
FEW    ?= 8
include $(here)/digits.mk
include $(here)/digits-clones.mk
include $(here)/digits-focus.mk
include $(here)/digits-maps.mk

# One thread a process: make -j2 has a process for each core.
export OMP_NUM_THREADS := $(or $(OMP_NUM_THREADS),1)

demo_stores := $(OUT)/digits.zarr $(digits_rankings) $(OUT)/train.zarr $(OUT)/held-out.zarr $(OUT)/train-linf.zarr \
  $(OUT)/held-out-linf.zarr $(foreach norm,$(norms),$(foreach end,$(ends),$(OUT)/digits-$(norm)-$(end)-$(FEW)x10.zarr)) \
  $(OUT)/digits-mds-l2.zarr $(verdicts)
demo_runs   := $(OUT)/judge $(OUT)/denoiser $(OUT)/with-focus $(OUT)/with-random
demo_texts  := $(OUT)/digits-clones.md $(OUT)/digits-table.md $(OUT)/digits-compared.json $(OUT)/judgement.json
demo_seen   := $(digits_pictures) $(clones_pictures) $(focus_pictures) $(OUT)/digits-maps.svg

demo: digits digits-clones digits-focus digits-maps $(OUT)/report.html
	@echo; awk -f $(here)/answer.awk $(OUT)/digits-linf.tsv $(OUT)/digits-compared.json
	@printf '\nThe page with all of it, to open in a browser:\n  %s\n' $(OUT)/report.html

$(OUT)/report.html: $(demo_stores) $(demo_texts) $(demo_seen) $(OUT)/judge.run $(OUT)/denoiser.run
	$(run)figure report $(demo_stores) $(demo_runs) $(demo_texts) $(demo_seen) \
	  --title 'How robust are handwritten digits?' -o $@ --overwrite
