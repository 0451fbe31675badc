# Which labelled points are the least robust?  Section 3 on scikit-learn's 1,797 real digits of 8x8 pixels, in both norms.
# Any laptop, less than a minute.
#
#   make -C examples digits        or, from the root:  make demo

BIN  ?=
OUT  ?= work/digits
# Commands of the installation in BIN, or those in the PATH.
run  := $(if $(BIN),$(BIN)/)

norms    := l2 linf
rankings := $(norms:%=$(OUT)/digits-%.zarr)
listings := $(norms:%=$(OUT)/digits-%.tsv)
pictures := $(OUT)/digits-sensitivity.svg $(norms:%=$(OUT)/digits-pairs-%.png)

.PHONY: digits
.DELETE_ON_ERROR:
.SECONDARY:

digits: $(rankings) $(listings) $(pictures)
	@printf '\nRankings, and as text:\n'; printf '  %s\n' $(rankings) $(listings)
	@printf 'Pictures:\n'; printf '  %s\n' $(pictures)
	@for norm in $(norms); do \
	  printf '\nThe five least robust points in %s: index, distance, neighbour, label, its label\n' $$norm; \
	  head -n 5 $(OUT)/digits-$$norm.tsv; \
	done

$(OUT)/digits.zarr:
	@mkdir -p $(@D)
	$(run)dataset import digits -o $@

$(OUT)/digits-%.zarr: $(OUT)/digits.zarr
	$(run)sens-rank $< --norm $* -o $@

$(OUT)/digits-%.tsv: $(OUT)/digits.zarr
	$(run)sens-rank $< --norm $* > $@

$(OUT)/digits-sensitivity.svg: $(rankings)
	$(run)figure sensitivity $^ -o $@

$(OUT)/digits-pairs-%.png: $(OUT)/digits.zarr $(OUT)/digits-%.zarr
	$(run)figure pairs $^ -o $@
