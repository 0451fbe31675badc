# The digits for the recipes that include this file: scikit-learn's 1,797 real digits of 8x8 pixels, their rankings in both
# norms, 300 digits that are held out, and the 1,497 others.

ifndef DIGITS_SETS_MK
DIGITS_SETS_MK := $(lastword $(MAKEFILE_LIST))
here  := $(patsubst %/,%,$(dir $(DIGITS_SETS_MK)))

BIN   ?=
OUT   ?= work/digits
# Commands of the installation in BIN, or those in the PATH.
run   := $(if $(BIN),$(BIN)/)
norms := l2 linf
digits_rankings := $(norms:%=$(OUT)/digits-%.zarr)

.DELETE_ON_ERROR:
.SECONDARY:

$(OUT)/digits.zarr:
	@mkdir -p $(@D)
	$(run)dataset import digits -o $@

$(digits_rankings): $(OUT)/digits-%.zarr: $(OUT)/digits.zarr
	$(run)sens-rank $< --norm $* -o $@

$(OUT)/held-out.zarr: $(OUT)/digits.zarr
	$(run)dataset subset $< --select random:300:0 -o $@

$(OUT)/train.zarr: $(OUT)/digits.zarr
	$(run)dataset subset $< --exclude random:300:0 -o $@

endif
