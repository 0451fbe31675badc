# Lines of `aacompare --power` between groups of seeds as a table, the paper's differences beside ours:
#
#   awk -f differences.awk small.tsv A.B.best.json A.B.last.json ...
#
# Of each line come the means of both groups and the difference of AutoAttack accuracy, B minus A, with its 95 % interval
# (Welch) and the smallest true difference that it could show (two-sided 5 %, power 80 %), in percentage points.

BEGIN { FS = "\t" }

FILENAME ~ /\.tsv$/ {
    if ($0 !~ /^#/ && $1 != "question") {
        pair = $2 "." $3
        order[++rows] = pair
        question[pair] = $1
        paper[pair, "best"] = $4
        paper[pair, "last"] = $5
    }
    next
}

{
    name = FILENAME
    sub(/.*\//, "", name)
    sub(/\.json$/, "", name)
    which = name ~ /\.best$/ ? "best" : "last"
    sub(/\.(best|last)$/, "", name)
    at = index($0, "\"autoattack")
    if (!at) {
        printf "%s holds no AutoAttack accuracy\n", FILENAME > "/dev/stderr"
        failed = 1
        exit 1
    }
    text = substr($0, at)
    mean_a = after(text, "\"mean\": ")
    mean_b = after(substr(text, index(text, "\"b\": {")), "\"mean\": ")
    rest = substr(text, index(text, "\"difference\": "))
    low = after(rest, "\"interval\": [")
    high = after(substr(rest, index(rest, "\"interval\": [") + 13), ", ")
    cells[name, which] = sprintf("%.2f | %.2f | %+.2f (%+.2f to %+.2f)", 100 * mean_a, 100 * mean_b, \
        100 * after(rest, "\"difference\": "), 100 * low, 100 * high)
    detectable[name, which] = points_after(rest, "\"detectable\": ")
    clear[name, which] = (low > 0 || high < 0) ? "yes" : "no"
}

END {
    if (failed) exit 1
    print "| B against A | weights | A | B | ours, B - A (95 %) | beyond chance | the paper's, one run | detectable |"
    print "|---|---|---|---|---|---|---|---|"
    for (row = 1; row <= rows; row++) {
        pair = order[row]
        split("best last", kinds, " ")
        for (kind = 1; kind <= 2; kind++) {
            which = kinds[kind]
            if ((pair, which) in cells) {
                theirs = paper[pair, which] == "" ? "" : sprintf("%+.2f", paper[pair, which])
                printf "| %s | %s | %s | %s | %s | %s |\n", question[pair], which, cells[pair, which], \
                    clear[pair, which], theirs, detectable[pair, which]
            }
        }
    }
}

# The number that follows a mark.
function after(text, mark,    at) {
    at = index(text, mark)
    if (!at) return 0
    text = substr(text, at + length(mark))
    match(text, /^-?[0-9][0-9.e+-]*/)
    return substr(text, 1, RLENGTH) + 0
}

# That number in percentage points; x where there is none.
function points_after(text, mark,    at) {
    at = index(text, mark)
    return at && substr(text, at + length(mark)) ~ /^[0-9]/ ? sprintf("%.2f", 100 * after(text, mark)) : "x"
}
