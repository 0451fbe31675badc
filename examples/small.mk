# Tables 1 to 4 and Figure 1 (b) at a small size.  Does a focus on the least robust points help?  Are clones of robust images
# farther away?  Do the accuracies of Figure 1 (b) differ by a factor of two?
#
# Tables 2 to 4 (rows.mk, SMALL=yes): ten rows, on 2,000 images of CIFAR-10, with 64 points instead of the paper's 1,024, tested
# on 1,000 images with two attacks of AutoAttack; five seeds of the four rows of Table 2 and Figure 1 (b), three of the others.
# FOCUS=fixed.  The row with v' held out and v in focus is the control: does any focus help, or only one on the least robust?
#
# What it can show.  In earlier runs of these rows the AutoAttack accuracy of one seed differed from that of another with a
# standard deviation of about 1.5 points.  With five seeds a side, a test at 5 % finds a true difference of 3.1 points with
# probability 80 %; with three a side, one of 5.3.  The paper's differences are 0.07 to 0.39 points, so this size can neither
# confirm nor refute them.  It can show a large effect, and the local one: the accuracy on the points in focus, which rises by
# 11 points in the paper.
#
# Table 1 and Figures 3, 7 to 11 (clones.mk, SMALL=yes): a small denoiser, trained on the same 2,000 images.
#
# Results: $(OUT)/small.md, which contains small-tables.md (rows, mean and standard deviation), small-draws.md (how often points
# in focus were drawn), small-differences.md (differences with 95 % intervals, beside the paper's, and the smallest that could be
# shown), small-local.md (the same on the points in focus), small-focus.md (Figure 1 b) and small-table1.md; small-figure1b.svg;
# small-figure3.png.  Ours: results/small.md, discussed in README.md.
#
# Hardware: two CPU cores with bfloat16, about two hours with make -j2 (computed).  The trainings of results/small.md took 177
# minutes of one core by their logs, with other work on the machine; they have FEW_SEEDS="0 1", because time was short: rows
# with two seeds could show 4.5 to 19 points, and so show little.  PRECISION=fp32 takes a third longer.  Data: CIFAR-10 (sets.mk).
#
#   make -j2 -C examples small DATA=/folder/of/published/files OUT=/folder/of/results

SMALL     := yes
PRECISION ?= bf16
SEEDS     ?= 0 1 2 3 4
# Of the rows with schedule c, in l2 and of Table 4.
FEW_SEEDS ?= 0 1 2
EPOCHS    ?= 24
.PHONY: small
small:
include $(dir $(lastword $(MAKEFILE_LIST)))rows.mk
include $(here)/table1.mk
include $(here)/figure3.mk

# One thread a process: make -j2 has a process for each core.
export OMP_NUM_THREADS := $(or $(OMP_NUM_THREADS),1)

small_main := c10inf-v_v c10inf-vp_v c10inf-v_s c10inf-v_m
small_rows := $(small_main) c10inf-v-c_s c10inf_2v c10inf-c_2s c10inf-c_2s-star c10l2-v_v c10l2-v-c_s
# $(call seeds,ROW); $(call seeded,ROW): its runs.
seeds      = $(if $(filter $(1),$(small_main)),$(SEEDS),$(FEW_SEEDS))
seeded     = $(foreach seed,$(call seeds,$(1)),$(runs)/$(1).$(seed))
small_all := $(foreach row,$(small_rows),$(call seeded,$(row)))

small_made := $(OUT)/small.md $(OUT)/small-figure1b.$(FORM)
small: $(if $(call row_there,c10),$(small_made)) figure3
	@$(call rows_absent,c10)
	@$(call made,$(if $(call row_there,c10),$(small_made)))

$(OUT)/small-tables.md: $(small_all:%=%.jsonl)
	$(run)figure table $(foreach one,$(small_all),$(one) $(one).best.zarr $(one).last.zarr --name $(basename $(notdir $(one)))) \
	  -o $@ --tsv $(basename $@).tsv --overwrite

# $(call group,ROW,WHICH): evaluations of a row, one for each seed.
group      = $(patsubst %,%.$(2).zarr,$(call seeded,$(1)))
# $(call pairs,TSV): its pairs, A:B.
pairs       = $(shell awk -F '\t' '!/^(\#|question)/ { print $$2 ":" $$3 }' $(here)/$(1))
small_pairs := $(call pairs,small.tsv)
small_json  := $(foreach pair,$(small_pairs),$(foreach which,best last,$(runs)/$(subst :,.,$(pair)).$(which).json))

# $(call of_difference,A,B,WHICH)
define of_difference
$(runs)/$(1).$(2).$(3).json: $(patsubst %,%.jsonl,$(call seeded,$(1)) $(call seeded,$(2)))
	$(run)aacompare --power $(call group,$(1),$(3)) vs $(call group,$(2),$(3)) -q > $$@.part && mv $$@.part $$@
endef
$(foreach pair,$(small_pairs),$(foreach which,best last,$(eval $(call of_difference,$(word 1,$(subst :, ,$(pair))),$(word 2,$(subst :, ,$(pair))),$(which)))))

$(OUT)/small-differences.md: $(here)/small.tsv $(small_json) $(here)/differences.awk
	awk -f $(here)/differences.awk $(here)/small.tsv $(small_json) > $@.part && mv $@.part $@

# The same attacks on s itself, by the last weights.
on_s       = $(foreach seed,$(SEEDS),$(runs)/on-s/$(1).$(seed).zarr)
$(runs)/on-s: | $(runs)
	@mkdir -p $@

$(runs)/on-s/%.zarr: $(runs)/%.run $(call ranked,c10,linf) | $(runs)/on-s
	$(run)aaeval $(call set,c10) $(runs)/$*/last.safetensors --select $(s_inf) --norm linf $(AAEVAL) -o $@

small_local := $(call pairs,small-local.tsv)
define of_local
$(runs)/on-s/$(1).$(2).last.json: $(call on_s,$(1)) $(call on_s,$(2))
	$(run)aacompare --power $(call on_s,$(1)) vs $(call on_s,$(2)) -q > $$@.part && mv $$@.part $$@
endef
$(foreach pair,$(small_local),$(eval $(call of_local,$(word 1,$(subst :, ,$(pair))),$(word 2,$(subst :, ,$(pair))))))
local_json := $(foreach pair,$(small_local),$(runs)/on-s/$(subst :,.,$(pair)).last.json)

$(OUT)/small-local.md: $(here)/small-local.tsv $(local_json) $(here)/differences.awk
	awk -f $(here)/differences.awk $(here)/small-local.tsv $(local_json) > $@.part && mv $@.part $@

# Accuracies on the points in focus after the last epoch, the most robust and the least robust ones.
$(OUT)/small-focus.md: $(foreach seed,$(SEEDS),$(runs)/c10inf-v_m.$(seed).run $(runs)/c10inf-v_s.$(seed).run) $(here)/focus.awk
	awk -f $(here)/focus.awk $(foreach seed,$(SEEDS),$(runs)/c10inf-v_m.$(seed)/log.jsonl $(runs)/c10inf-v_s.$(seed)/log.jsonl) > $@.part && mv $@.part $@

# Is there a focus? How often an epoch has drawn a point in focus, and another one, by the log.
small_first := $(foreach row,$(small_rows),$(firstword $(call seeded,$(row))))
$(OUT)/small-draws.md: $(small_first:%=%.run)
	{ \
	  printf '| row | focus points in an epoch | draws of one | draws of another point | ratio |\n|---|---|---|---|---|\n'; \
	  for run in $(small_first); do \
	    tail -n 1 $$run/log.jsonl | awk -v row=$$(basename $$run | sed 's/[.][0-9]*$$//') ' \
	      function value(name, at) { at = index($$0, "\"" name "\": "); return at ? substr($$0, at + length(name) + 4) + 0 : 0 } \
	      value("focus") { printf "| %s | %d | %.2f | %.2f | %.2f |\n", row, value("focus"), value("focus_draws"), \
	        value("other_draws"), value("focus_draws") / value("other_draws"); next } \
	      { printf "| %s | 0 | | | |\n", row }'; \
	  done; \
	} > $@.part && mv $@.part $@

$(OUT)/small-figure1b.$(FORM): $(runs)/c10inf-v_m.$(firstword $(SEEDS)).run $(runs)/c10inf-v_s.$(firstword $(SEEDS)).run
	$(run)figure training $(basename $^) --name 'most robust in focus' --name 'least robust in focus' \
	  -o $@ --tsv $(basename $@).tsv --overwrite

$(OUT)/small.md: $(OUT)/small-table1.md $(OUT)/small-tables.md $(OUT)/small-draws.md $(OUT)/small-differences.md $(OUT)/small-local.md \
  $(OUT)/small-focus.md
	{ \
	  printf '## Table 1, of clones by a small denoiser\n\n'; cat $(OUT)/small-table1.md; \
	  printf '\n## Tables 2 to 4: rows\n\n'; cat $(OUT)/small-tables.md; \
	  printf '\n## Tables 2 to 4: how often points in focus were drawn\n\n'; cat $(OUT)/small-draws.md; \
	  printf '\n## Tables 2 to 4: differences\n\n'; cat $(OUT)/small-differences.md; \
	  printf '\n## The same on the points in focus\n\n'; cat $(OUT)/small-local.md; \
	  printf '\n## Figure 1 (b): accuracies on the points in focus, last epoch\n\n'; cat $(OUT)/small-focus.md; \
	} > $@.part && mv $@.part $@
