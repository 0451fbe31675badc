# Which labelled points are the least robust?  Section 3 on scikit-learn's 1,797 real digits of 8x8 pixels, in both norms.
# Any laptop, less than a minute.
#
#   make -C examples digits        or, from the root:  make demo

BIN  ?=
WORK ?= work/digits
# Commands of the installation in BIN, or those in the PATH.
run  := $(if $(BIN),$(BIN)/)

norms    := l2 linf
rankings := $(norms:%=$(WORK)/digits-%.zarr)
listings := $(norms:%=$(WORK)/digits-%.tsv)
pictures := $(WORK)/digits-sensitivity.svg $(norms:%=$(WORK)/digits-pairs-%.png)

.PHONY: digits
.DELETE_ON_ERROR:
.SECONDARY:

digits: $(rankings) $(listings) $(pictures)
	@printf '\nRankings, and as text:\n'; printf '  %s\n' $(rankings) $(listings)
	@printf 'Pictures:\n'; printf '  %s\n' $(pictures)
	@for norm in $(norms); do \
	  printf '\nThe five least robust points in %s: index, distance, neighbour, label, its label\n' $$norm; \
	  head -n 5 $(WORK)/digits-$$norm.tsv; \
	done

$(WORK)/digits.zarr:
	@mkdir -p $(@D)
	$(run)dataset import digits -o $@

$(WORK)/digits-%.zarr: $(WORK)/digits.zarr
	$(run)sens-rank $< --norm $* -o $@

$(WORK)/digits-%.tsv: $(WORK)/digits.zarr
	$(run)sens-rank $< --norm $* > $@

$(WORK)/digits-sensitivity.svg: $(rankings)
	$(run)figure sensitivity $^ -o $@

$(WORK)/digits-pairs-%.png: $(WORK)/digits.zarr $(WORK)/digits-%.zarr
	$(run)figure pairs $^ -o $@
