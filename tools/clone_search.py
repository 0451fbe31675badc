"""Search for the sampler's arguments by the Fréchet distance between images and their clones: Section 4, Appendix B.

The grid is the paper's: three values each of sigma_min, sigma_max, rho, S_churn, S_min and S_noise, and an infinite
S_max: 729 points, with three seeds. --grid changes the values of one argument. With --start matched give one sigma_max,
because the start already decides the noise.

With --weights the score is the FID, as in the paper. Without, it is the Fréchet distance of pixels, which is faster;
--features selects others. Each finished point is a line of JSON in the output: its arguments, seed, number of images,
score, the kind of score ("measure": fid or frechet, and "features"), and the mean l2 and l-infinity distances between
images and clones.

--strategy full clones all images at each point with each seed. halving scores all points on a tenth of the images with
one seed, the best ninth on three tenths, and the best ninth of those on all images with all seeds: a seventeenth of the
clones. All points clone the same images with the same noise, and clones are used again in the next round.

At the end the command reports the mean score at each value of each argument, and the points that are within the
seed-to-seed variation of the best one. An interrupted search resumes.

For example:

    clone-search c10.zarr --model edm.safetensors --weights inception.safetensors -o s.jsonl
    clone-search c10.zarr --model edm.safetensors --weights inception.safetensors --shard 0/4 -o s0.jsonl
    clone-search digits.zarr --model m.safetensors --limit 200 --grid rho=1.6 --grid S_max=1,inf -o search.jsonl
    figure search search.jsonl -o effects.svg
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from datarobust.errors import UsageError

from . import _cli
from ._cli import choice, option
from ._console import emit_plan

app = _cli.tool(__doc__)


@app.command()
def clone_search(  # noqa: D103 - the help is the docstring of the module
    dataset: _cli.Images,
    model: _cli.DenoiserFile,
    output: _cli.Output,
    select: _cli.Select = None,
    strategy: Annotated[Literal["full", "halving"], choice("Search strategy; see above.")] = "halving",
    grid: Annotated[list[str] | None, option("NAME=X,X..", "Values of one argument; may be repeated.")] = None,
    features: _cli.Features = None,
    weights: _cli.InceptionWeights = None,
    seeds: Annotated[int, option("N", "Number of seeds, starting at --seed.", min=1)] = 3,
    start: _cli.Start = "paper",
    noise_weight: _cli.NoiseWeight = 0.45,
    num_steps: Annotated[int, option("N", "Steps of the sampler.", min=1)] = 20,
    precision: _cli.Precision = "auto",
    compiled: _cli.Compiled = None,
    batch: _cli.CloneBatch = None,
    shard: _cli.Shard = "0/1",
    also: Annotated[list[Path] | None, option("FILE", "Results of another shard; may be repeated.")] = None,
    seed: _cli.Seed = 0,
    device: _cli.Device = "auto",
    threads: _cli.Threads = None,
    limit: _cli.Limit = None,
    dry_run: _cli.DryRun = False,
    as_json: _cli.Json = False,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    from datarobust import distributed
    from datarobust.diffusion import search
    from datarobust.diffusion.cloning import default_batch
    from datarobust.diffusion.denoiser import prepare, seconds_of
    from datarobust.diffusion.sampler import DEFAULTS
    from datarobust.jobs.clone import Cloning
    from datarobust.jobs.clone_search import Search, sentences
    from datarobust.jobs.fid import feature_space, some_images
    from datarobust.jobs.make import make

    base = replace(DEFAULTS["paper"], num_steps=num_steps)
    with distributed.group() as group:
        place = _cli.torch_device(device, threads, group.here)
        points, chosen, denoiser, weights_of = _cli.load_denoiser(dataset, model, select, limit)
        size = batch or default_batch(place.type)
        precision = _cli.precision_of(precision, place, "bf16", None if overwrite else output, group)
        how = (base, start, noise_weight, 1, "own", precision, seed, size)
        cloning = Cloning(points, denoiser, weights_of, chosen, *how)
        for remark in chosen.remarks():
            _cli.say(f"{remark}.")
        features = features or ("inception" if weights else "pixels")
        space = feature_space(features, some_images(points), place, weights)
        grid_points = search.grid(_changes(grid or []), base, start, noise_weight)
        numbers = tuple(range(seed, seed + seeds))
        job = Search(cloning, space, grid_points, numbers, strategy, _cli.shard_of(shard), tuple(also or ()))
        plan = job.plan()
        fused = not dry_run and _cli.compiled_of(compiled, place, lambda: float(plan["operations"]), group)
        job = replace(job, cloning=replace(cloning, compiled=fused))
        prepare(denoiser, precision, str(place), compiled=fused)
        if dry_run:
            emit_plan(plan, seconds_of(plan["operations"], denoiser) / group.size, str(place))
            return
        _cli.resumable()
        step = _cli.step("clone-search", seed, _cli.place_of(place))
        make(job, output, step, overwrite=overwrite, group=group, labelled=_cli.progress)
    findings = job.findings(output)
    if as_json:
        _cli.emit(json.dumps({"search": str(output), **findings}))
        return
    _cli.say(*sentences(findings))
    _cli.emit(str(output))


def _changes(texts: list[str]) -> dict[str, list[float]]:
    """``--grid`` as a mapping."""
    changes = {}
    for text in texts:
        name, _, values = text.partition("=")
        try:
            changes[name] = [float(value) for value in values.split(",")]
        except ValueError:
            raise UsageError(f"--grid {text} is not a list of values such as rho=1.5,1.6,1.7.") from None
    return changes


main = _cli.main(app, "clone-search")

if __name__ == "__main__":
    main()
