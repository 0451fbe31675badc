# Lines of `fid` as a table in the form of the paper's Tables 1 and 5, the paper's numbers beneath ours:
#
#   awk -f distances.awk [table1.tsv] c10-l2-most.oc.json c10-l2-most.cc.json ...
#
# Of NAME.oc.json come O:C, the Fréchet distance and what stands beside it; of NAME.cc.json comes C:C. The paper's row is
# that of the set, the norm and the end of the ranking in the name.

BEGIN { FS = "\t" }

FILENAME ~ /\.tsv$/ {
    if ($0 !~ /^#/ && $1 != "set") {
        paper[$1 "-" $2 "-" $3] = sprintf("| *the paper* | %s | %s | FID %s | | | %s | %s |", $4, $5, $6, $7, $8)
    }
    next
}

{
    name = FILENAME
    sub(/.*\//, "", name)
    which = name ~ /\.cc\.json$/ ? "cc" : "oc"
    sub(/\.(oc|cc)\.json$/, "", name)
    if (!(name in seen)) {
        seen[name] = 1
        order[++rows] = name
    }
    far[name, which] = of(which, "linf") " | " of(which, "l2")
    if (which == "oc") {
        kind = number("fid") == "" ? word("features") : "FID"
        sub(/:.*/, "", kind)
        between[name] = kind " " shown(number("frechet"), 3)
        noise[name] = shown(inside("calibration", "frechet"), 3) " | " shown(inside("kid", "value"), 3)
    }
}

END {
    print "| | l∞ (O:C) | l2 (O:C) | Fréchet (O:C) | of two halves of O | KID (O:C) | l∞ (C:C) | l2 (C:C) |"
    print "|---|---|---|---|---|---|---|---|"
    for (row = 1; row <= rows; row++) {
        name = order[row]
        print "| " name " | " cells(far, name, "oc") " | " between[name] " | " noise[name] " | " cells(far, name, "cc") " |"
        if (name in paper) print paper[name]
    }
}

# Two cells, empty where there is no such line.
function cells(table, name, which) { return (name, which) in table ? table[name, which] : " | " }

# A number of the line itself, of an object in it, or a text.
function number(key) { return found("\"" key "\": ", $0) }

function inside(object, key,    at) {
    at = index($0, "\"" object "\": {")
    return at ? found("\"" key "\": ", substr($0, at)) : ""
}

function found(mark, text,    at) {
    at = index(text, mark)
    if (!at) return ""
    text = substr(text, at + length(mark))
    return match(text, /^-?[0-9][0-9.e+-]*/) ? substr(text, 1, RLENGTH) : ""
}

function word(key,    at, text) {
    at = index($0, "\"" key "\": \"")
    text = substr($0, at + length(key) + 5)
    return substr(text, 1, index(text, "\"") - 1)
}

function of(object, key) { return shown(inside(object, key), 3) }

function shown(value, digits) { return value == "" ? "" : sprintf("%." digits "g", value) }
