# Does the attack that tracks robustness leak into the training?  Appendix D suspects so, and rows of the paper's tables rely
# on it.  This is about our code alone: the same training runs with nothing tracked, with held-out points (v), with the least
# robust training points (s), and with all training points.  The digests of the weights are equal, so the weights are
# bit-identical.  With s in focus, in either mode, they differ.
#
# The digest of a weights file covers only its tensors, not the command that made them.  Digests differ between machines and
# versions of PyTorch; only those of one machine can be compared.
#
# Data: 500 of scikit-learn's digits, no download.  WRN-10-1, 3 epochs.  One CPU core: about a minute.
# Result: results/glitch.txt.  What is known of the published code, and what is not, is in guides/claims-and-findings.md.
#
#   make -C examples glitch OUT=/folder/of/results

.PHONY: glitch
glitch:
include $(dir $(lastword $(MAKEFILE_LIST)))sets.mk

glitch_folder := $(OUT)/glitch
glitch_set    := $(glitch_folder)/digits.zarr
glitch_least  := $(glitch_folder)/digits-linf.zarr:least:64
glitch_focus  := --track $(glitch_least) --focus $(glitch_least)
glitch_alike  := track-none track-v track-s track-all
glitch_other  := focus-inject focus-oversample
glitch_runs   := $(glitch_alike) $(glitch_other)
asked_track-none       := --track none
asked_track-v          := --track first:64
asked_track-s          := --track $(glitch_least)
asked_track-all        := --track '!first:64'
asked_focus-inject     := $(glitch_focus) --focus-mode inject --focus-batch 16
asked_focus-oversample := $(glitch_focus) --focus-mode oversample

glitch: $(OUT)/glitch.txt
	@cat $<

$(glitch_folder): | $(OUT)
	@mkdir -p $@

$(glitch_set): | $(glitch_folder)
	$(run)dataset import digits --limit 500 -o $@

$(glitch_folder)/digits-linf.zarr: $(glitch_set)
	$(run)sens-rank $< --norm linf -o $@

$(glitch_runs:%=$(glitch_folder)/%.run): $(glitch_folder)/%.run: $(glitch_set) $(glitch_folder)/digits-linf.zarr
	$(run)advtrain $< --arch wrn-10-1 --epochs 3 --batch 64 --hold-out first:64 $(asked_$*) --threads 1 --device cpu \
	  -o $(glitch_folder)/$* > $@.part && mv $@.part $@

# The first digest that "artifact show" prints of an artifact is its own.
$(OUT)/glitch.txt: $(glitch_runs:%=$(glitch_folder)/%.run)
	{ \
	  for name in $(glitch_runs); do \
	    $(run)artifact show $(glitch_folder)/$$name/last.safetensors | grep -o '"digest": "[0-9a-f]*"' | head -n 1 \
	      | awk -F '"' -v name=$$name '{ printf "%-18s%s\n", name, $$4 }'; \
	  done; \
	} > $@.part
	awk -v alike=$(words $(glitch_alike)) -v all=$(words $(glitch_runs)) ' \
	  !($$2 in known) { known[$$2]; kinds++ } \
	  NR == alike { equal = kinds == 1 } \
	  END { \
	    ok = NR == all && equal && kinds == 1 + all - alike; \
	    print ok ? "tracking: equal weights; focus: others" : "tracking and focus are not kept apart"; exit !ok \
	  }' $@.part > $@.verdict
	cat $@.verdict >> $@.part; rm $@.verdict; mv $@.part $@
