# Tables 1 and 5: distances between the 10,000 most or least robust images of CIFAR-10 (1) or CIFAR-100 (5) and their clones
# (O:C, with the FID), and between ten successive clones of the 1,024 most or least robust (C:C), in both norms.
# Data and denoisers: sets.mk, clones.mk.  Network of the FID: pt_inception-2015-12-05-6726825d.pth (96 MB) in DATA, a release
# asset of pytorch-fid and torch-fidelity.  If it is missing, FEATURES=pixels is used and nothing is called FID.
#
# Results: $(OUT)/table1.md and table5.md, beside the paper's numbers, which are in table1.tsv and table5.tsv.  The column "of
# two halves" is the distance between 5,000 originals and the other 5,000: the noise at this number of images.  Clones are
# paired with their originals, which lowers their distance, so it may be smaller.
#
# Hardware.  A row is 20,240 clones, 33 PFLOP, and 20,000 evaluations of Inception, 0.2 PFLOP: minutes on a current GPU
# (estimated), 7 hours with PRECISION=bf16 on two CPU cores.  There are eight rows.  SMALL=yes uses 200 instead of 10,000 and
# 32 instead of 1,024 of the 2,000 images that a small denoiser was trained on, and pixels: 25 minutes of a CPU core with
# EPOCHS=24 PRECISION=bf16.  Its table, small-table1.md, has none of the paper's numbers, because the clones are different.
#
#   make -C examples table1 DATA=/folder/of/published/files OUT=/folder/of/results      both; table5 is CIFAR-100 alone
#   make -C examples table1 DATA=/folder/of/published/files SMALL=yes

.PHONY: table1 table5
table1:
include $(dir $(lastword $(MAKEFILE_LIST)))clones.mk

INCEPTION    ?= $(wildcard $(DATA)/pt_inception-2015-12-05-6726825d.pth)
FEATURES     ?= $(if $(and $(INCEPTION),$(if $(SMALL),,yes)),inception,pixels)
# More options of fid, such as FID='--extrapolate'.
FID          ?=
table1_many  := $(if $(SMALL),200,10000)
table1_few   := $(if $(SMALL),32,1024)
table1_sets  := $(call clonable,$(cloned_sets))
$(call clones_needed,$(table1_many),1)
$(call clones_needed,$(table1_few),10)
by_features  := --features $(FEATURES) $(if $(filter inception,$(FEATURES)),--weights $(INCEPTION))

# $(call of_distances,SET,NORM,END)
define of_distances
$(OUT)/$(1)-$(2)-$(3).oc.json: $(OUT)/$(1).zarr $(call clones_of,$(1),$(2),$(3),$(table1_many),1)
	$(call on_gpus,fid) $$^ $(by_features) $(FID) > $$@.part && mv $$@.part $$@

$(OUT)/$(1)-$(2)-$(3).cc.json: $(OUT)/$(1).zarr $(call clones_of,$(1),$(2),$(3),$(table1_few),10)
	$(run)fid $$^ --features pixels --kid 0 -q > $$@.part && mv $$@.part $$@
endef
$(foreach set,c10 c100 small-c10,$(foreach norm,$(norms),$(foreach end,most least,$(eval $(call of_distances,$(set),$(norm),$(end))))))

# $(call distances,SET): the lines of a set.
distances     = $(foreach norm,$(norms),$(foreach end,most least,$(foreach pair,oc cc,$(OUT)/$(1)-$(norm)-$(end).$(pair).json)))
table_c10     := table1
table_c100    := table5
table_small-c10 := small-table1

define of_table
$(OUT)/$(table_$(1)).md: $(here)/$(patsubst small-%,%,$(table_$(1))).tsv $(call distances,$(1)) $(here)/distances.awk
	awk -f $(here)/distances.awk $(here)/$(patsubst small-%,%,$(table_$(1))).tsv $(call distances,$(1)) > $$@.part && mv $$@.part $$@
endef
$(foreach set,c10 c100 small-c10,$(eval $(call of_table,$(set))))

table1: $(foreach set,$(table1_sets),$(OUT)/$(table_$(set)).md)
	@$(call absent,$(cloned_sets))
	@$(call unclonable,$(cloned_sets))
	@$(if $(SMALL)$(filter inception,$(FEATURES)),,echo 'no pt_inception-2015-12-05-6726825d.pth in DATA=$(DATA): distances are of $(FEATURES)' >&2)
	@$(call made,$^)

table5: $(if $(filter c100,$(table1_sets)),$(OUT)/table5.md)
	@$(if $^,,$(call absent,c100) $(call unclonable,c100) echo 'nothing to make: table5 needs CIFAR-100 and its denoiser in DATA=$(DATA)' >&2; exit 1)
	@$(call made,$^)
