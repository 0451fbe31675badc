"""Search for the sampler's arguments by the Fréchet distance between images and their clones: Section 4, Appendix B.

The grid is the paper's: three values each of sigma_min, sigma_max, rho, S_churn, S_min and S_noise, 729 points, with
three seeds. --grid changes the values of one. Each finished point is a line of JSON in the output: its arguments, seed,
number of images, score, and the mean l2 and l-infinity distances between images and clones. With --features inception
and --weights scores are the paper's, FIDs; other features take less work, and say so in the first line.

--strategy full clones all images at every point with every seed. halving ranks all points on a tenth of the images with
one seed, the best ninth of them on three tenths, and the best ninth of those on all images with all seeds: a
seventeenth of the clones. All points clone the same images with the same noise, and clones serve the next rung, too.

At the end the mean score at every value of every argument is told, and the set of points that seeds cannot tell from
the best one. A search that was killed goes on at the point where it was.

For example:

    clone-search digits.zarr --model m.safetensors --features pixels --limit 200 --grid rho=1.6 -o search.jsonl
    clone-search c10.zarr --model edm.safetensors --features inception --weights inception.safetensors -o s.jsonl
    clone-search c10.zarr --model edm.safetensors --select r.zarr:least:10000 --strategy full --shard 0/4 -o s0.jsonl
    figure search search.jsonl -o effects.svg
"""

from __future__ import annotations

import json
import re
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from datarobust.errors import UsageError

from . import _cli, _diffusion, _features

if TYPE_CHECKING:
    import torch

    from datarobust.clones.searching import Search
    from datarobust.diffusion.search import Result
    from datarobust.distributed import Group

app = _cli.tool(__doc__)


@app.command()
def clone_search(  # noqa: D103 - the help is the docstring of the module
    dataset: Annotated[Path, typer.Argument(metavar="D.zarr", help="The images; - takes their path from stdin.")],
    model: _diffusion.Model,
    output: _cli.Output,
    select: _cli.Select = None,
    strategy: Annotated[Literal["full", "halving"], typer.Option("--strategy", help="See above.")] = "halving",
    grid: Annotated[
        list[str] | None,
        typer.Option("--grid", metavar="NAME=X,X..", help="Other values of one argument; may be given again."),
    ] = None,
    features: _features.Features = "pixels",
    weights: _features.InceptionWeights = None,
    seeds: Annotated[int, typer.Option("--seeds", metavar="N", min=1, help="How many, from --seed on.")] = 3,
    start: _diffusion.Start = "paper",
    noise_weight: _diffusion.NoiseWeight = 0.45,
    num_steps: Annotated[int, typer.Option("--num-steps", metavar="N", min=1, help="Steps of the sampler.")] = 20,
    precision: _cli.Precision = "fp32",
    compiled: _diffusion.Compiled = False,
    batch: _diffusion.Batch = None,
    shard: Annotated[
        str, typer.Option("--shard", metavar="I/N", help="Do every N-th point only, from the I-th on, from 0.")
    ] = "0/1",
    also: Annotated[
        list[Path] | None, typer.Option("--also", metavar="FILE", help="Lines of another shard; may be given again.")
    ] = None,
    seed: _cli.Seed = 0,
    device: _cli.Device = "auto",
    threads: _cli.Threads = None,
    limit: _cli.Limit = None,
    dry_run: _cli.DryRun = False,
    as_json: _cli.Json = False,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    options = dict(locals())
    from datarobust import distributed

    with distributed.group() as processes:
        place = _cli.torch_device(device, threads, processes.here)
        asked = _search(options, place)
        if dry_run:
            _cli.emit(json.dumps(_plan(asked)))
        else:
            _run(asked, place, processes, options)


def _search(options: dict[str, Any], place: torch.device) -> Search:
    """What the options ask for."""
    from datarobust import artifacts, clones, selection
    from datarobust.checkpoints.models import load_denoiser
    from datarobust.clones.searching import Search
    from datarobust.diffusion import search
    from datarobust.diffusion.starts import DEFAULTS
    from datarobust.jobs.fid import feature_space

    points = artifacts.open_store(_cli.argument_path(options["dataset"]), "dataset")
    chosen = selection.choose(options["select"] or f"first:{len(points)}", points)
    if options["limit"] is not None:
        chosen = replace(chosen, rows=chosen.rows[: options["limit"]])
    base = replace(DEFAULTS["paper"], num_steps=options["num_steps"])
    asked = clones.Request(
        base, options["start"], options["noise_weight"], precision=options["precision"], seed=options["seed"]
    )
    denoiser, weights = load_denoiser(_cli.argument_path(options["model"]))
    job = clones.Job(points, denoiser, weights, chosen, asked)
    for remark in chosen.remarks():
        _cli.say(f"{remark}.")
    seeds = tuple(range(options["seed"], options["seed"] + options["seeds"]))
    return Search(
        job,
        feature_space(
            options["features"], points.column("images").read(0, min(8, len(points))), place, options["weights"]
        ),
        search.grid(_changes(options["grid"] or []), base),
        seeds,
        options["strategy"],
        options["batch"] or _diffusion.batch_of(place),
        _shard(options["shard"]),
        tuple(options["also"] or ()),
    )


def _changes(given: list[str]) -> dict[str, list[float]]:
    """--grid as a mapping."""
    found = {}
    for text in given:
        name, _, values = text.partition("=")
        try:
            found[name] = [float(value) for value in values.split(",")]
        except ValueError:
            raise UsageError(f"--grid {text} is no list of values such as rho=1.5,1.6,1.7.") from None
    return found


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if match is None or not int(match[1]) < int(match[2]):
        raise UsageError(f"--shard {text} is no share such as 0/4, 1/4, 2/4 or 3/4.")
    return int(match[1]), int(match[2])


def _plan(asked: Search) -> dict[str, Any]:
    """What the search takes."""
    from datarobust.diffusion.denoiser import flops

    sampler = asked.points[0].sampler
    return {
        "points": len(asked.points),
        "rungs": [{"points": r.points, "images": r.images, "seeds": len(r.seeds)} for r in asked.rungs],
        "clones": asked.cost,
        "operations": asked.cost * sampler.evaluations * flops(asked.job.model),
    }


def _run(asked: Search, place: torch.device, processes: Group, options: dict[str, Any]) -> None:
    """Search, and say what was found."""
    from datarobust import artifacts

    output, quiet = options["output"], options["quiet"]
    _diffusion.prepared(asked.job.model, asked.job.request.precision, place, options["compiled"])
    _cli.resumable()
    with artifacts.Lock(output) if processes.leads else nullcontext():
        found = asked.run(output, processes, lambda label: _cli.progress(quiet, label), options["overwrite"])
    if not processes.leads:
        return
    told = _findings(asked, found)
    if options["as_json"]:
        _cli.emit(json.dumps({"search": str(output), **told}))
        return
    for sentence in _sentences(told):
        _cli.say(sentence)
    _cli.emit(str(output))


def _findings(asked: Search, found: list[list[Result]]) -> dict[str, Any]:
    """Main effects over all points, the spread of seeds, the top set."""
    from datarobust.diffusion import search

    means = search.mean_scores(found[-1])
    effects = search.main_effects(found[0], asked.points)
    return {
        "features": asked.measure.name,
        "main_effects": {name: {f"{value:g}": score for value, score in one.items()} for name, one in effects.items()},
        "main_effects_images": asked.rungs[0].images,
        "seed_spread": search.seed_spread(found[-1]),
        "images": asked.rungs[-1].images,
        "top": [
            {"point": number, **asked.points[number].values(), "score": means[number]}
            for number in search.top_set(found[-1])
        ],
    }


def _sentences(told: dict[str, Any]) -> list[str]:
    """The findings in words."""
    said = [f"Mean scores ({told['features']}, {told['main_effects_images']:,} images) by value of each argument:"]
    for name, effects in told["main_effects"].items():
        said.append(f"  {name}: " + ", ".join(f"{value}: {score:.4g}" for value, score in effects.items()))
    spread = told["seed_spread"]
    known = "unknown with one seed" if spread is None else f"{spread:.3g}"
    said.append(f"On {told['images']:,} images a score differs from seed to seed by {known}.")
    said.append(f"Points that seeds cannot tell from the best: {len(told['top'])}.")
    for point in told["top"]:
        values = ", ".join(f"{name} {value:g}" for name, value in point.items() if name not in ("point", "score"))
        said.append(f"  {point['score']:.4g}: {values}")
    return said


def main() -> None:
    """Run the command."""
    _cli.run(app, "clone-search")


if __name__ == "__main__":
    main()
