"""Clone images with a diffusion model: Section 4, Figures 3 and 7 to 15.

An image is mixed with 45 % of noise and denoised by the sampler of Karras et al. 2022 (Algorithm 2), under their names.
How image and noise are weighed the paper leaves open, and so it does which point of its grid was chosen: --start says
which reading is meant, the defaults are the centre of the grid of Appendix B, and every run states and stores the
coefficient of the image, the true deviation of the noise and the deviation that the denoiser is told.

    paper     sigma_max z / |w|: weights of norm 1; the least change to the program of Karras et al.
    unit      sigma_max z / sd(z): a mixture of variance 1
    matched   image + w/(1 - w) noise: the denoiser is told the noise that there is; no churn is needed
    noise     no image: plain sampling, with the sampler of Karras et al.

A clone is a function of image, label, --seed, row and repeat; batches, processes and devices change it by no more than
rounding does. A run that was killed goes on where its state was saved, at most 20 seconds before.

For example:

    clone digits.zarr --model run/last.safetensors -o k.zarr
    clone c10.zarr --model edm.safetensors --select r.zarr:least:10000 -o k.zarr
    clone c10.zarr --model edm.safetensors --select r.zarr:least:1024 --repeats 10 --precision bf16 -o k.zarr
    torchrun --nproc_per_node=2 -m datarobust.tools.clone c10.zarr --model edm.safetensors -o k.zarr
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import _cli, _diffusion

if TYPE_CHECKING:
    import torch

    from datarobust.clones import Job
    from datarobust.distributed import Group

app = _cli.tool(__doc__)


@app.command()
def clone(  # noqa: D103 - the help is the docstring of the module
    dataset: Annotated[Path, typer.Argument(metavar="D.zarr", help="The images; - takes their path from stdin.")],
    model: _diffusion.Model,
    output: _cli.Output,
    select: _cli.Select = None,
    repeats: Annotated[int, typer.Option("--repeats", metavar="R", min=1, help="Clones of each image.")] = 1,
    start: _diffusion.Start = "paper",
    noise_weight: _diffusion.NoiseWeight = 0.45,
    labels: _diffusion.Labels = "own",
    num_steps: _diffusion.NumSteps = None,
    sigma_min: _diffusion.SigmaMin = None,
    sigma_max: _diffusion.SigmaMax = None,
    rho: _diffusion.Rho = None,
    s_churn: _diffusion.SChurn = None,
    s_min: _diffusion.SMin = None,
    s_max: _diffusion.SMax = None,
    s_noise: _diffusion.SNoise = None,
    precision: _cli.Precision = "fp32",
    compiled: _diffusion.Compiled = False,
    batch: _diffusion.Batch = None,
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

    job = _job(options)
    with distributed.group() as processes:
        place = _cli.torch_device(device, threads, processes.here)
        if dry_run:
            _cli.emit(json.dumps(_plan(job, place)))
        else:
            _clone(job, place, processes, options)


def _job(options: dict[str, Any]) -> Job:
    """What the options ask for, and what the user should know of it."""
    from datarobust import artifacts, clones, selection
    from datarobust.checkpoints.models import load_denoiser

    points = artifacts.open_store(_cli.argument_path(options["dataset"]), "dataset")
    chosen = selection.choose(options["select"] or f"first:{len(points)}", points)
    if options["limit"] is not None:
        chosen = replace(chosen, rows=chosen.rows[: options["limit"]])
    sampler = _diffusion.sampler(options["start"], options)
    asked = clones.Request(
        sampler,
        options["start"],
        options["noise_weight"],
        options["repeats"],
        clones.labels_of(options["labels"]),
        options["precision"],
        options["seed"],
    )
    denoiser, weights = load_denoiser(_cli.argument_path(options["model"]))
    job = clones.Job(points, denoiser, weights, chosen, asked)
    for remark in clones.remarks(job):
        _cli.say(remark)
    return job


def _clone(job: Job, place: torch.device, processes: Group, options: dict[str, Any]) -> None:
    """Make the clones, unless that was done before, and print where they are."""
    from datarobust import artifacts

    output, overwrite = options["output"], options["overwrite"]
    new = not processes.agree(
        processes.leads and not overwrite and artifacts.finished(output, job.attributes["request"])
    )
    if new:
        _cli.resumable()
        if processes.leads:
            artifacts.demand_vacant(output, "clones", overwrite)
        _diffusion.prepared(job.model, job.request.precision, place, options["compiled"])
        batch = options["batch"] or _diffusion.batch_of(place)
        unit = ("images", lambda batches: float(batch * processes.size))
        job.run(
            output,
            _cli.step("clone", job.request.seed, _diffusion.place_of(place), job.inputs),
            batch,
            processes=processes,
            pad=options["compiled"],
            overwrite=overwrite,
            progress=_cli.progress(options["quiet"], f"cloning {job.task.count:,} images, batches", unit),
        )
    if processes.leads:
        _announce(output, new, job, options["as_json"])


def _announce(output: Path, new: bool, job: Job, as_json: bool) -> None:
    if not as_json:
        _cli.emit(str(output))
        return
    begun, sampler = job.started
    told: dict[str, Any] = {"clones": str(output), "new": new, "count": job.task.count}
    _cli.emit(json.dumps(told | {"start": begun.as_json(), "sampler": sampler.as_json()}))


def _plan(job: Job, place: torch.device) -> dict[str, Any]:
    """What the work takes; the time is that of one evaluation, measured, times their number."""
    from datarobust.diffusion.denoiser import flops, seconds_per_image

    plan = job.plan(flops(job.model))
    ready = _diffusion.prepared(job.model, job.request.precision, place, compiled=False)
    one = seconds_per_image(ready, 2 if place.type == "cpu" else 256)
    return plan | {
        "device": str(place),
        "expected_seconds": round(one * plan["clones"] * plan["evaluations_a_clone"], 1),
    }


def main() -> None:
    """Run the command."""
    _cli.run(app, "clone")


if __name__ == "__main__":
    main()
