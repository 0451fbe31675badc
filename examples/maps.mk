# Maps of the paper's data sets (Figures 2 (c, d), 6, 17): a sample of 1,000 points of a set, stratified by robustness, placed
# by multidimensional scaling (mds) or random trees (rte).  Other recipes include this file.  Colour and size show sensitivity
# in Figure 2 and robustness in Figures 6 and 17, as the captions say.
# POINTS=N changes the number of points, SEED the sample; for either, also change OUT.

ifndef MAPS_MK
MAPS_MK := $(lastword $(MAKEFILE_LIST))
include $(dir $(MAPS_MK))sets.mk

POINTS  ?=
methods := mds rte

# $(call map,SET,METHOD,NORM)
map = $(OUT)/$(1)-$(2)-$(3).zarr
# $(call maps,SETS): row by row as the paper has them, the sets beside each other: MDS l2, MDS l_inf, RTE l2, RTE l_inf.
maps = $(foreach method,$(methods),$(foreach norm,$(norms),$(foreach set,$(1),$(call map,$(set),$(method),$(norm)))))
# $(call maps_names,SETS)
maps_names = $(foreach method,$(methods),$(foreach norm,$(norms),$(call names,$(1))))
# $(call maps_columns,SETS): with one set the two norms stand beside each other.
maps_columns = $(if $(filter 1,$(words $(1))),2,$(words $(1)))

# $(call of_map,SET,METHOD,NORM)
define of_map
$(OUT)/$(1)-$(2)-$(3).zarr: $(OUT)/$(1).zarr $(OUT)/$(1)-$(3).zarr
	$(run)embed $$< --ranking $(OUT)/$(1)-$(3).zarr --method $(2) $(if $(POINTS),--n $(POINTS) )--seed $(SEED) -o $$@
endef
$(foreach set,c10 c100 c100s M L B,$(foreach method,$(methods),$(foreach norm,$(norms),$(eval $(call of_map,$(set),$(method),$(norm))))))

# What is measured of each map, a line each: the first of its lines in the table of all points.
measured = awk -F '\t' -v OFS='\t' '!seen[$$1, $$2, $$3]++ { print $$1, $$2, $$3, $$4, $$5, $$6 }'

endif
