# A few quantiles of every set in a table that `figure sensitivity --tsv` or `figure difference --tsv` wrote:
#
#   awk -f quantiles.awk figure2a.all.tsv                    sensitivity
#   awk -v of=difference -f quantiles.awk figure2b.all.tsv
#
# The quantile at q is the smallest value that at least the fraction q of the set does not exceed; at 0 the smallest.

BEGIN {
    FS = OFS = "\t"
    if (of == "") of = "sensitivity"
    levels = split("0 0.01 0.1 0.25 0.5 0.75 0.9 0.99 0.999 1", level, " ")
}

NR == 1 {
    for (i = 1; i <= NF; i++) column[$i] = i
    next
}

{
    name = ("base" in column ? $column["base"] " - " : "") $column["set"] OFS $column["norm"]
    if (!(name in count)) order[++sets] = name
    value[name, ++count[name]] = $column[of] + 0
}

# The values of one set in ascending order, by sifting in a heap: those of a curve are in order already, differences not.
function sort(name, n,    i, moved) {
    for (i = 2; i <= n && value[name, i - 1] <= value[name, i]; i++);
    if (i > n) return
    for (i = int(n / 2); i >= 1; i--) sift(name, i, n)
    for (i = n; i > 1; i--) {
        moved = value[name, i]; value[name, i] = value[name, 1]; value[name, 1] = moved
        sift(name, 1, i - 1)
    }
}

function sift(name, root, n,    child, held) {
    held = value[name, root]
    while ((child = 2 * root) <= n) {
        if (child < n && value[name, child] < value[name, child + 1]) child++
        if (held >= value[name, child]) break
        value[name, root] = value[name, child]
        root = child
    }
    value[name, root] = held
}

END {
    printf "set\tnorm\tpoints"
    for (i = 1; i <= levels; i++) printf "\t%s", level[i]
    printf "\n"
    for (s = 1; s <= sets; s++) {
        name = order[s]
        n = count[name]
        sort(name, n)
        printf "%s\t%d", name, n
        for (i = 1; i <= levels; i++) {
            rank = int(level[i] * n)
            if (rank < level[i] * n || rank < 1) rank++
            printf "\t%.4g", value[name, rank]
        }
        printf "\n"
    }
}
