"""Map points to the plane, to see whether patterns of robustness emerge: Figures 2 (c, d), 6 and 17.

The map shows a sample of the points, stratified by robustness: the points with a finite distance in the ranking are
sorted by (robustness, index) and cut into N parts of equal size, and one point is drawn at random from each. Labels do
not affect the positions.

    mds     multidimensional scaling (Kruskal 1964): distances on the map approximate those of the points. --scaling
            metric minimises the sum of squared differences (SMACOF, as scikit-learn's MDS), nonmetric keeps only the
            order of distances, classical is the closed form. --init classical starts from that form; random starts
            from --n-init random maps and keeps the best, as scikit-learn's MDS before version 1.10.
    rte     random trees embedding: --n-estimators totally random trees, and the two largest singular vectors of the
            matrix of points and leaves, as in scikit-learn's examples. No norm.

Distances of mds are in the norm of the ranking, or in --norm: the paper has l2 and l-infinity maps and does not say
whether both are maps of l2 distances. The command reports and stores Kruskal's stress (stress-1) and the raw sum, and
whether patterns emerge: the rank correlation between the robustness of a point and of its nearest neighbour on the map,
beside that of 999 random permutations. It prints the path of the embedding; figure map draws it.

For example:

    embed digits.zarr --ranking r.zarr -o e.zarr
    embed c10.zarr --ranking c10-linf.zarr --method rte --json -o c10-rte.zarr
    sens-rank c10.zarr --norm linf -o r.zarr | embed c10.zarr --ranking - --norm l2 -o e.zarr
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

from . import _cli
from ._cli import choice, option

app = _cli.tool(__doc__)


@app.command()
def embed(  # noqa: D103 - the help is the docstring of the module
    dataset: _cli.Dataset,
    ranking: _cli.Ranking,
    output: _cli.Output,
    n: Annotated[int | None, option("N", "Points on the map; default 1000, or all if there are fewer.", min=3)] = None,
    method: Annotated[Literal["mds", "rte"], choice("Multidimensional scaling or random trees.")] = "mds",
    norm: _cli.OptionalNorm = None,
    scaling: Annotated[
        Literal["metric", "nonmetric", "classical"] | None, choice("mds: kind of scaling; default metric.")
    ] = None,
    init: Annotated[Literal["classical", "random"] | None, choice("mds: start of SMACOF; default classical.")] = None,
    n_init: Annotated[int | None, option("N", "mds: random starts; default 4.", min=1)] = None,
    max_iter: Annotated[int | None, option("N", "mds: maximum iterations per start; default 300.", min=1)] = None,
    n_estimators: Annotated[int | None, option("N", "rte: number of trees; default 100.", min=1)] = None,
    max_depth: Annotated[int | None, option("N", "rte: tree depth; default 5.", min=1)] = None,
    seed: _cli.Seed = 0,
    limit: _cli.Limit = None,
    dry_run: _cli.DryRun = False,
    as_json: _cli.Json = False,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    from datarobust import artifacts
    from datarobust.jobs.embed import Embedding, options_of, remarks, summary
    from datarobust.jobs.make import make

    mds = {"scaling": scaling, "norm": norm, "init": init, "n_init": n_init, "max_iter": max_iter}
    options = options_of(method, {**mds, "n_estimators": n_estimators, "max_depth": max_depth})
    points = _cli.opened(dataset)
    ranked = _cli.opened(ranking, "ranking")
    job = Embedding(points, ranked, n, method, options, seed, limit)
    if dry_run:
        _cli.emit(json.dumps(job.plan()))
        return
    progress = _cli.progress(f"embedding {len(job.rows):,} points, starts")
    new = make(job, output, _cli.step("embed", seed, "cpu"), overwrite=overwrite, progress=progress)
    store = artifacts.open_store(output, "embedding")
    if new:
        _cli.say(*job.remarks(), *remarks(store))
    _cli.emit(json.dumps({"embedding": str(output), "new": new} | summary(store)) if as_json else str(output))


main = _cli.main(app, "embed")

if __name__ == "__main__":
    main()
