"""Compare evaluations on the same points: is the difference of two robust accuracies more than chance?

Two evaluations are compared point by point: the difference B minus A with its 95 % interval (a bootstrap over points),
the points that only one of them has right, and McNemar's exact test. That is about two networks. It says nothing about
two trainings, since another seed gives another network: with vs between, two groups of seeds are compared by mean,
deviation and interval (Welch). An improvement by 0.2 percentage points on 10,000 images is one by 20 images.

--power adds what such a comparison can show, tested at 5 % (two-sided) with power 80 %: "detectable" is the smallest
true difference, and "points_for_gain" or "seeds_for_gain" are the points, or the seeds of each group, that the paper's
gain of 0.2 percentage points needs. For two evaluations they follow from "discordant", the share of points that only
one has right (McNemar's test); for groups, from the deviation between seeds (Welch's test). The deviation of three
seeds is itself known only within a factor of 0.5 to 6. With --power, vs may be the last word, before there is anything
to compare: the evaluations are then compared with as many like them.

A terminal shows three lines; a pipe or file, or --json, gets one line of JSON, whose keys are always the same.

With --ranking accuracies are also compared by robustness of the points: the ranking is of the evaluated dataset, most
usefully --against the training set.

For example:

    aacompare baseline.zarr focus.zarr
    aacompare base1.zarr base2.zarr base3.zarr vs focus1.zarr focus2.zarr focus3.zarr
    sens-rank c10-test.zarr --against c10.zarr --norm linf -o r.zarr
    aacompare baseline.zarr focus.zarr --ranking r.zarr
    aacompare --power base1.zarr base2.zarr base3.zarr vs
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from datarobust.errors import UsageError

from . import _cli
from ._cli import argument, flag
from ._console import emit_result, percent

app = _cli.tool(__doc__)


@app.command()
def aacompare(  # noqa: D103 - the help is the docstring of the module
    evaluations: Annotated[
        list[Path], argument("A.zarr... [vs] B.zarr...", "Evaluations; separate two groups with vs.")
    ],
    power: Annotated[bool, flag("--power", "Also report which difference could be detected.")] = False,
    ranking: _cli.OptionalEvaluatedRanking = None,
    quantiles: _cli.Quantiles = 10,
    seed: _cli.Seed = 0,
    as_json: _cli.Json = False,
    quiet: _cli.Quiet = False,
) -> None:
    from datarobust.jobs.aacompare import compare, opened

    groups = _groups(evaluations, power)
    ranked = None if ranking is None else _cli.opened(ranking, "ranking")
    a, b = ([opened(_cli.argument_path(path)) for path in group] for group in groups)
    comparison = compare(a, b, ranked, quantiles, seed, power)
    _cli.say(*comparison["remarks"])
    emit_result(comparison, _lines)


def _lines(comparison: Mapping[str, Any]) -> Iterator[str]:
    """A comparison for a person."""
    groups = (comparison["a"], comparison["b"] or [])
    a, b = (" ".join([names] if isinstance(names, str) else names) for names in groups)
    against = f", B {b}" if b else ""
    yield f"A {a}{against}: {comparison['points']:,} points, {comparison['norm']} {comparison['eps']}"
    yield f"clean: {_difference(comparison['clean'])}"
    bound = " (upper bounds)" if comparison["upper_bound"] else ""
    yield f"AutoAttack{bound}: {_difference(comparison['autoattack'])}"


def _difference(entry: Mapping[str, Any]) -> str:
    groups = []
    for group in ("a", "b"):
        if group in entry:
            mean = entry[group]["mean"] if isinstance(entry[group], dict) else entry[group]
            groups.append(f"{group.upper()} {percent(mean)}")
    if "difference" not in entry:
        return ", ".join(groups)
    interval = "unknown with one seed"
    if entry["interval"] is not None:
        interval = " to ".join(f"{100 * end:+.2f}" for end in entry["interval"])
    p = "" if entry["p"] is None else f", p = {entry['p']:.2g}"
    return f"{', '.join(groups)}, B - A {100 * entry['difference']:+.2f} points (95 % interval: {interval}){p}"


def _groups(paths: list[Path], alone: bool) -> tuple[list[Path], list[Path]]:
    """What stands before vs and after it, where nothing needs to stand if ``alone``; two evaluations need no vs."""
    places = [place for place, path in enumerate(paths) if str(path) == "vs"]
    if not places and len(paths) == 2:
        return paths[:1], paths[1:]
    if len(places) != 1 or not 0 < places[0] < len(paths) - (not alone):
        raise UsageError(
            "two evaluations are compared, or two groups of them with one vs between: A1 A2 vs B1 B2. With `power` vs "
            "may also be the last word."
        )
    return paths[: places[0]], paths[places[0] + 1 :]


main = _cli.main(app, "aacompare")

if __name__ == "__main__":
    main()
