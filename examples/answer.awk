# The demo's answers in words, from the ranking of the digits and the comparison of the two networks:
#
#   awk -f answer.awk digits-linf.tsv digits-compared.json

FILENAME ~ /\.tsv$/ {
    distance[++points] = $2
    if (points == 1) first = sprintf("digit %s (label %s), %.3f away from digit %s (label %s)", $1, $4, $2, $3, $5)
    next
}

{
    text = substr($0, index($0, "\"autoattack\": {"))
    random = after("\"a\": ")
    focus = after("\"b\": ")
    p = after("\"p\": ")
}

END {
    printf "How robust are handwritten digits? Half of the %d are within %.2f of a digit with a different label,\n", \
        points, distance[int((points + 1) / 2)]
    printf "in l∞, where pixels are between 0 and 1. The least robust is %s.\n", first
    printf "Does a focus on the least robust help? Accuracy under attack is %.1f %% with it and %.1f %% with random points in\n", \
        100 * focus, 100 * random
    printf "focus (p = %.2g, one pair of networks; several seeds would say more).\n", p
}

function after(mark) {
    match(substr(text, index(text, mark) + length(mark)), /^[0-9.e+-]+/)
    return substr(text, index(text, mark) + length(mark), RLENGTH)
}
