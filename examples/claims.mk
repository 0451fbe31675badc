# What the paper says about sensitivity in its text, tested on CIFAR-10 in both norms.
# Data: CIFAR-10, training and test set (sets.mk).  Two CPU cores: 3 minutes.  Memory: 1 GB.
#
#   Section 1  The smallest l_inf distance between images of different classes is about 0.2118, more than six times 8/255.
#              -> claims.txt
#   Section 3  Sensitivity and perceived curvature give the same order of points.  -> claims.txt
#   Section 3  Random labels can increase sensitivity.  -> "random labels" in claims.tsv, claims-difference-*.svg
#   Section 4  Sensitivity depends on features more than on the granularity of classes.  Here: two super-classes, animals
#              and vehicles, instead of ten classes.  -> "two super-classes" in claims.tsv, claims-difference-*.svg
#   Section 4  Removing near-duplicates of a test set from a set lowers its sensitivity, which explains the low
#              sensitivity of TI500K.  Here: without the training images within l2 distance WITHIN of a test image, and,
#              for comparison, without as many random images.
#              -> "no near-duplicates", "as many at random" in claims.tsv, claims.svg
#
#   make -C examples claims DATA=/folder/of/published/files OUT=/folder/of/results

.PHONY: claims
claims:
include $(dir $(lastword $(MAKEFILE_LIST)))sets.mk

# Of the order of the median robustness of CIFAR-10 in l2, 9.5.
WITHIN ?= 8

claims_sets        := c10 c10-random c10-two c10-apart c10-fewer
name_c10-random    := random labels
name_c10-two       := two super-classes
name_c10-apart     := no near-duplicates
name_c10-fewer     := as many at random
claims_differences := $(norms:%=$(OUT)/claims-difference-%.$(FORM))

claims: $(if $(source_c10),$(OUT)/claims.txt $(claims_differences) $(if $(source_c10-test),$(OUT)/claims.$(FORM)))
	@$(call absent,c10 c10-test)
	@$(call made,$^)
	@$(if $(source_c10),cat $(OUT)/claims.txt)

# ------------------------------------------------------------------------------------------- other labels, fewer points

$(OUT)/c10-random.zarr: $(OUT)/c10.zarr
	$(run)dataset relabel $< --random $(SEED) --name cifar10-random -o $@

$(OUT)/c10-two.labels: $(OUT)/c10-l2.curvature.tsv
	sort -n $< | awk -F '\t' '{ print $$4 ~ /^[0189]$$/ }' > $@.part && mv $@.part $@

$(OUT)/c10-two.classes: | $(OUT)
	printf '%s\n' animal vehicle > $@.part && mv $@.part $@

$(OUT)/c10-two.zarr: $(OUT)/c10.zarr $(OUT)/c10-two.labels $(OUT)/c10-two.classes
	$(run)dataset relabel $< --labels $(OUT)/c10-two.labels --classes $(OUT)/c10-two.classes --name cifar10-two -o $@

$(OUT)/c10-near.txt: $(OUT)/c10.zarr $(OUT)/c10-test.zarr
	$(run)dataset duplicates $< --against $(OUT)/c10-test.zarr --within $(WITHIN) --drop > $@.part && mv $@.part $@

$(OUT)/c10-apart.zarr: $(OUT)/c10.zarr $(OUT)/c10-near.txt
	$(run)dataset subset $< --exclude $(OUT)/c10-near.txt --name cifar10-apart -o $@

$(OUT)/c10-fewer.zarr: $(OUT)/c10.zarr $(OUT)/c10-near.txt
	$(run)dataset subset $< --exclude random:$$(grep -c . $(OUT)/c10-near.txt):$(SEED) --name cifar10-fewer -o $@

# ------------------------------------------------------------------------------------------------------------- results

$(OUT)/c10-%.curvature.tsv: $(OUT)/c10.zarr
	$(run)sens-rank $< --norm $* --curvature > $@.part && mv $@.part $@

# Columns 6 and 7 are the perceived curvature: down the rows, from the least robust on, it never rises.
$(OUT)/claims.txt: $(norms:%=$(OUT)/c10-%.curvature.tsv)
	for norm in $(norms); do \
	  awk -F '\t' -v norm=$$norm ' \
	    NR == 1 { eps = norm == "l2" ? 128 : 8 } \
	    NR == 1 { printf "%s: the least distance is %.4f, %.2f times %d/255\n", norm, $$2, $$2 * 255 / eps, eps } \
	    NR > 1 && ($$6 + 0 > tilde || $$7 + 0 > kappa) { wrong++ } \
	    { tilde = $$6 + 0; kappa = $$7 + 0 } \
	    END { printf "%s: perceived curvature puts %d of %d points out of the order of sensitivity\n", norm, wrong, NR } \
	  ' $(OUT)/c10-$$norm.curvature.tsv || exit 1; \
	done > $@.part && mv $@.part $@

$(OUT)/claims.$(FORM): $(foreach norm,$(norms),$(claims_sets:%=$(OUT)/%-$(norm).zarr))
	$(run)figure sensitivity $^ $(foreach norm,$(norms),$(call names,$(claims_sets))) --absolute \
	  -o $@ --tsv $(basename $@).all.tsv --overwrite
	awk -f $(here)/quantiles.awk $(basename $@).all.tsv > $(basename $@).tsv

$(OUT)/claims-difference-%.$(FORM): $(OUT)/c10-%.zarr $(OUT)/c10-random-%.zarr $(OUT)/c10-two-%.zarr
	$(run)figure difference $^ $(call names,c10 c10-random c10-two) --by point \
	  -o $@ --tsv $(basename $@).all.tsv --overwrite
	awk -v of=difference -f $(here)/quantiles.awk $(basename $@).all.tsv > $(basename $@).tsv
