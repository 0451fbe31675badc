# Figure 3, and Figures 7 to 15 of Appendix B: the 16 most and the 16 least robust images of CIFAR-10 and CIFAR-100 and ten
# clones of each, in both norms.  Data and denoisers: sets.mk, clones.mk; missing ones are left out.
# The clones of one set, norm and end of the ranking are 160 images, 264 TFLOP: 3 minutes with PRECISION=bf16 on two CPU cores,
# 26 minutes for all eight; seconds on a GPU (computed).  SMALL=yes: a small denoiser on 2,000 images, and pictures that show
# its limits.
# The paper: clones of the most robust images resemble them, clones of the least robust images do not.
#
#   make -C examples figure3 DATA=/folder/of/published/files OUT=/folder/of/results      all of them
#   make -C examples figure8 DATA=/folder/of/published/files OUT=/folder/of/results      one of 3, 7, 8 ... 15

figure3_singly := figure7 figure8 figure9 figure10 figure11 figure12 figure13 figure14 figure15
.PHONY: figure3 $(figure3_singly)
figure3:
include $(dir $(lastword $(MAKEFILE_LIST)))clones.mk

figure3_sets := $(call clonable,$(cloned_sets))
PICTURES     ?= png
$(call clones_needed,16,10)
# $(call sixteen,SET,NORM,END)
sixteen       = $(call clones_of,$(1),$(2),$(3),16,10)
# $(call four,NORM): most and least robust images of every set.
four          = $(foreach set,$(figure3_sets),$(call sixteen,$(set),$(1),most) $(call sixteen,$(set),$(1),least))
four_names    = $(foreach set,$(figure3_sets),--name '$(name_$(set)), most robust' --name '$(name_$(set)), least robust')
# Figure -> set, norm, end.
figures_c10   := 8-l2-most 9-linf-most 10-l2-least 11-linf-least
figures_c100  := 12-l2-most 13-linf-most 14-l2-least 15-linf-least
figures_small-c10 := $(figures_c10)
# Pictures of another set have another name: small-figure3.png.
figure3_name  := $(OUT)/$(if $(SMALL),small-)figure
figure3_all   := $(if $(figure3_sets),$(figure3_name)3.$(PICTURES) $(figure3_name)7.$(PICTURES)) \
  $(foreach set,$(figure3_sets),$(foreach one,$(figures_$(set)),$(figure3_name)$(firstword $(subst -, ,$(one))).$(PICTURES)))

figure3: $(figure3_all)
	@$(call absent,$(cloned_sets))
	@$(call unclonable,$(cloned_sets))
	@$(call made,$^)

define of_squares
$(figure3_name)$(1).$(PICTURES): $(figure3_sets:%=$(OUT)/%.zarr) $(call four,$(2))
	$(run)figure clones $$^ $(four_names) -o $$@ --tsv $$(basename $$@).tsv --overwrite
endef
$(eval $(call of_squares,3,l2))
$(eval $(call of_squares,7,linf))

# $(call of_rows,SET,FIGURE,NORM,END)
define of_rows
$(figure3_name)$(2).$(PICTURES): $(OUT)/$(1).zarr $(call sixteen,$(1),$(3),$(4))
	$(run)figure clones $$^ --layout rows --name '$(name_$(1)), $(4) robust, $(3)' -o $$@ --tsv $$(basename $$@).tsv --overwrite
endef
$(foreach set,$(figure3_sets),$(foreach one,$(figures_$(set)),$(eval $(call of_rows,$(set),$(word 1,$(subst -, ,$(one))),$(word 2,$(subst -, ,$(one))),$(word 3,$(subst -, ,$(one)))))))

# $(call of_one,TARGET): the target of one figure; nothing to make is a failure.
figure3_picture = $(filter $(figure3_name)$(patsubst figure%,%,$(1)).$(PICTURES),$(figure3_all))
define of_one
$(1): $(call figure3_picture,$(1))
	@$$(call unclonable,$(cloned_sets))
	@$$(if $$^,printf '%s\n' $$^,$$(call absent,$(cloned_sets)) echo 'nothing to make: images and denoiser of $(1) are not in DATA=$(DATA)' >&2; exit 1)
endef
$(foreach one,$(figure3_singly),$(eval $(call of_one,$(one))))
