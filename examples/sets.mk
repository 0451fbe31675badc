# The paper's data sets (Section 4, Appendix C) and their rankings in both norms.  Other recipes include this file.
# Each set comes from the published file in DATA (the first of the names below that exists) or, with FETCH=yes, is
# downloaded.  Missing sets are left out.
#
#   set       what it is                                  file in DATA                          FETCH=yes
#   c10       CIFAR-10, training set, 50,000              cifar-10-python.tar.gz,               cifar10      170 MB
#                                                         cifar-10-binary.tar.gz, cifar10_train.npz
#   c10-test  its test set, 10,000                        the same archives, cifar10_test.npz   cifar10
#   c100      CIFAR-100 without the 40 least robust       cifar-100-python.tar.gz,              cifar100     169 MB
#             in l_inf, 49,960                            cifar-100-binary.tar.gz
#   c100s     the same points with 20 super-classes       the same                              cifar100
#   ti500k    50,000 random points of TI500K              ti_500K_pseudo_labeled.pickle         no: see the repository
#                                                         (1.5 GB)                              semisup-adv of Carmon et al.
#   1m        50,000 random points of 1m                  1m.npz                                cifar10-1m   3.1 GB
#   20m 50m   generated images, complete                  20m.npz, 50m.npz, cifar100-50m.npz    no: see rows.mk
#   c100-50m
#   M         EMNIST's MNIST, 60,000, else MNIST          emnist-mnist-train-images-idx3-ubyte.gz, emnist-mnist  562 MB,
#                                                         train-images-idx3-ubyte.gz, mnist_train.npz  once for all six
#   D         EMNIST Digits, 240,000                      emnist-digits-train-images-idx3-ubyte.gz,  emnist-digits, ...
#   L         the first 88,800 of Letters                 ..., each with its labels beside it
#   B         Balanced, 112,800
#   BM BC     By-Merge, By-Class, 697,932 each
#
# c100: the paper leaves out "a small set of 40 duplicate images" (Section 4) and does not name the norm.  Here it is one list,
# the 40 least robust points in l_inf, which is left out of c100 and c100s and so of both norms.
# To see the distances on both sides of the cut: sens-rank OUT/c100-all.zarr --norm linf | sed -n 39,42p
#
# L: the published file has 124,800 points; the paper has 88,800 (Appendix C), and so has the emnist/letters of TensorFlow
# Datasets, with 14,800 for testing: https://www.tensorflow.org/datasets/catalog/emnist.  Its reader takes the first 88,800
# of the file (tensorflow_datasets/image_classification/mnist.py), and so does this recipe.  The other five sets are complete:
# that page has the paper's numbers (the paper has none for BM).
#
# FORM=pdf or FORM=png changes the format of pictures (svg).  If you change SEED, SAMPLE, N or WITHIN, also change OUT.
# An npz file has the arrays x, y or image, label.  Paths must not contain spaces: a limit of make.  Finished artifacts are kept:
# if you replace a file in DATA, remove what was made from the old one.

ifndef SETS_MK
SETS_MK := $(lastword $(MAKEFILE_LIST))
here    := $(patsubst %/,%,$(dir $(SETS_MK)))

BIN    ?=
DATA   ?= $(here)/data
OUT    ?= $(here)/work
FETCH  ?=
FORM   ?= svg
SAMPLE ?= 50000
SEED   ?= 0
# Commands of the installation in BIN, or those in the PATH.
run    := $(if $(BIN),$(BIN)/)
norms  := l2 linf

.DELETE_ON_ERROR:
.SECONDARY:

ifneq ($(FETCH),)
.NOTPARALLEL: # several sets come in one file, and only one command fetches a file at a time
endif

$(OUT):
	@mkdir -p $@

# ---------------------------------------------------------------------------------------------- which sets are there

files_c10        := cifar-10-python.tar.gz cifar-10-binary.tar.gz cifar10_train.npz
files_c10-test   := cifar-10-python.tar.gz cifar-10-binary.tar.gz cifar10_test.npz
files_c100       := cifar-100-python.tar.gz cifar-100-binary.tar.gz
files_c100-test  := $(files_c100)
files_ti500k     := ti_500K_pseudo_labeled.pickle
files_1m         := 1m.npz
files_20m        := 20m.npz
files_50m        := 50m.npz
files_c100-50m   := cifar100-50m.npz
files_M          := emnist-mnist-train-images-idx3-ubyte.gz train-images-idx3-ubyte.gz mnist_train.npz
files_D          := emnist-digits-train-images-idx3-ubyte.gz
files_L          := emnist-letters-train-images-idx3-ubyte.gz
files_B          := emnist-balanced-train-images-idx3-ubyte.gz
files_BM         := emnist-bymerge-train-images-idx3-ubyte.gz
files_BC         := emnist-byclass-train-images-idx3-ubyte.gz

release_c10      := cifar10
release_c10-test := cifar10 --split test
release_c100     := cifar100
release_c100-test := cifar100 --split test
release_1m       := cifar10-1m
release_M        := emnist-mnist
release_D        := emnist-digits
release_L        := emnist-letters
release_B        := emnist-balanced
release_BM       := emnist-bymerge
release_BC       := emnist-byclass

name_c10         := CIFAR-10
name_c10-test    := CIFAR-10 test set
name_c100        := CIFAR-100
name_c100-test   := CIFAR-100 test set
name_c100s       := CIFAR-100s
name_ti500k      := TI500K
name_1m          := 1m
name_20m         := 20m
name_50m         := 50m
name_c100-50m    := 50m of CIFAR-100
name_M           := M
name_D           := D
name_L           := L
name_B           := B
name_BM          := BM
name_BC          := BC

imported := c10 c10-test c100 c100-test ti500k 1m 20m 50m c100-50m M D L B BM BC
$(foreach set,$(imported),$(eval \
  file_$(set) := $(firstword $(foreach file,$(files_$(set)),$(wildcard $(DATA)/$(file))))))
$(foreach set,$(imported),$(eval \
  source_$(set) := $(if $(file_$(set)),import $(file_$(set)),$(if $(FETCH),$(if $(release_$(set)),fetch $(release_$(set)))))))
source_c100s := $(source_c100)
files_c100s  := $(files_c100)

# $(call there,SETS): those of the sets that can be had.
there  = $(strip $(foreach set,$(1),$(if $(source_$(set)),$(set))))
# $(call names,SETS): the options that name them as the paper does.
names  = $(foreach set,$(1),--name '$(name_$(set))')
# $(call absent,SETS): shell commands that tell which cannot be had.
absent = $(foreach set,$(1),$(if $(source_$(set)),,echo 'left out: $(name_$(set)), no $(firstword $(files_$(set))) in DATA=$(DATA)' >&2;))
# $(call made,FILES): print them; none is a failure.
made   = $(if $(1),printf '%s\n' $(1),echo 'nothing to make: no set of this recipe is in DATA=$(DATA)' >&2; exit 1)
# $(call dataset,SET): the command that imports it.
dataset = $(run)dataset $(or $(source_$(1)),$(error $(name_$(1)): no $(firstword $(files_$(1))) in DATA=$(DATA)))

# ------------------------------------------------------------------------------------------------------------ imports

$(OUT)/c10.zarr: $(file_c10) | $(OUT)
	$(call dataset,c10) --name cifar10 -o $@

$(OUT)/c10-test.zarr: $(file_c10-test) | $(OUT)
	$(call dataset,c10-test) $(if $(filter %.tar.gz,$<),--split test) --name cifar10-test -o $@

$(OUT)/c100-all.zarr: $(file_c100) | $(OUT)
	$(call dataset,c100) --name cifar100 -o $@

# Without the 40 that the paper leaves out: the same points for both norms.
$(OUT)/c100.zarr: $(OUT)/c100-all.zarr $(OUT)/c100-all-linf.zarr
	$(run)dataset subset $< --exclude $(OUT)/c100-all-linf.zarr:least:40 -o $@

$(OUT)/c100-test.zarr: $(file_c100-test) | $(OUT)
	$(call dataset,c100-test) $(if $(file_c100-test),--split test) --name cifar100-test -o $@

$(OUT)/c100s.zarr: $(OUT)/c100.zarr
	$(run)dataset relabel $< --coarse --name cifar100s -o $@

# A random sample, without a copy of the whole set: the order is a function of SEED, and the first of it are kept.
$(OUT)/ti500k.zarr: $(file_ti500k) | $(OUT)
	$(call dataset,ti500k) --shuffle $(SEED) --limit $(SAMPLE) --name ti500k -o $@

$(OUT)/1m.zarr: $(file_1m) | $(OUT)
	$(call dataset,1m) --shuffle $(SEED) --limit $(SAMPLE) --name 1m -o $@

# Whole, in random order, so that they can be read as they lie (rows.mk).
define of_generated
$(OUT)/$(1).zarr: $(file_$(1)) | $(OUT)
	$$(call dataset,$(1)) --shuffle $(SEED) --name $(1) -o $$@
endef
$(foreach set,20m 50m c100-50m,$(eval $(call of_generated,$(set))))

limit_L := --limit 88800

define of_emnist
$(OUT)/$(1).zarr: $(file_$(1)) | $(OUT)
	$$(call dataset,$(1)) $(if $(limit_$(1)),$(limit_$(1)) )--name $(1) -o $$@
endef
$(foreach set,M D L B BM BC,$(eval $(call of_emnist,$(set))))

# ----------------------------------------------------------------------------------------------------------- rankings

$(OUT)/%-l2.zarr: $(OUT)/%.zarr
	$(run)sens-rank $< --norm l2 -o $@

$(OUT)/%-linf.zarr: $(OUT)/%.zarr
	$(run)sens-rank $< --norm linf -o $@

endif
