# Figure 1 (b) in numbers: the last lines of the logs of runs with the most robust points in focus (NAME_m.SEED) and with the
# least robust ones (NAME_s.SEED), as a table.
#
#   awk -f focus.awk c10inf-v_m.0/log.jsonl c10inf-v_s.0/log.jsonl c10inf-v_m.1/log.jsonl ...
#
# Means over seeds with 95 % intervals of Student's t. Ratios are geometric means of the ratios of equal seeds. PGD-40 accuracy
# counts points that are classified rightly and stay so under attack; divided by the clean accuracy it is the share of the
# rightly classified points that withstand the attack, which tells "attackable" from "hard".

FNR == 1 { files[++count] = FILENAME }
{ last[FILENAME] = $0 }

END {
    # The 97.5 % quantiles of Student's t for 1 to 9 degrees of freedom.
    split("12.706 4.303 3.182 2.776 2.571 2.447 2.365 2.306 2.262", t, " ")
    for (i = 1; i <= count; i++) {
        path = files[i]
        group = path ~ /_m\.[0-9]+\/log\.jsonl$/ ? "m" : "s"
        n = ++seeds[group]
        pgd[group, n] = 100 * value(last[path], "tracked_accuracy")
        clean[group, n] = 100 * value(last[path], "tracked_clean_accuracy")
        withstand[group, n] = 100 * pgd[group, n] / clean[group, n]
    }
    if (seeds["m"] != seeds["s"] || seeds["m"] < 2 || seeds["m"] > 10) {
        print "focus.awk needs the logs of 2 to 10 seeds, as many of either kind" > "/dev/stderr"
        exit 1
    }
    n = seeds["m"]
    printf "| percent, mean of %d seeds (95 %%) | most robust in focus | least robust in focus | ratio |\n|---|---|---|---|\n", n
    row("PGD-40 accuracy", pgd)
    row("clean accuracy", clean)
    row("of the rightly classified, still right under PGD-40", withstand)
}

function row(name, values,    i) {
    for (i = 1; i <= n; i++) ratios[i] = log(values["m", i] / values["s", i])
    printf "| %s | %s | %s | %s |\n", name, interval(values, "m"), interval(values, "s"), factor(ratios)
}

function interval(values, group,    i, mean, square, half) {
    for (i = 1; i <= n; i++) mean += values[group, i] / n
    for (i = 1; i <= n; i++) square += (values[group, i] - mean) ^ 2 / (n - 1)
    half = t[n - 1] * sqrt(square / n)
    return sprintf("%.2f (%.2f to %.2f)", mean, mean - half, mean + half)
}

function factor(logs,    i, mean, square, half) {
    for (i = 1; i <= n; i++) mean += logs[i] / n
    for (i = 1; i <= n; i++) square += (logs[i] - mean) ^ 2 / (n - 1)
    half = t[n - 1] * sqrt(square / n)
    return sprintf("%.2f (%.2f to %.2f)", exp(mean), exp(mean - half), exp(mean + half))
}

# The number that a line of a log has under a name.
function value(line, name,    at) {
    at = index(line, "\"" name "\": ")
    if (!at) {
        printf "a log has no %s\n", name > "/dev/stderr"
        exit 1
    }
    return substr(line, at + length(name) + 4) + 0
}
