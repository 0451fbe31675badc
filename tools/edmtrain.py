"""Train a denoiser on one's own images, for clone: Section 4 without a published checkpoint.

The loss, the averaging of weights and the network are those of Karras et al. 2022 (EDM preconditioning). For images of
32 pixels and more a side the network has the published size, which wants a GPU; for smaller images a small one that
learns digits within minutes on two processors.

The run is a folder: last.safetensors is the averaged denoiser, log.jsonl has one epoch a line, recipe.json says what
was asked. Killed at any moment, the same command goes on, and on the same machine it ends with the same bits.

With --judge, a classifier that was trained on real images says of how many images it finds the right label: of samples
(made from nothing but a label), of clones of --test, and of --test itself, which is what to hold the others against.

For example:

    edmtrain digits.zarr --epochs 200 -o denoiser
    edmtrain digits.zarr --test held-out.zarr --judge run/last.safetensors --epochs 200 -o denoiser
    clone digits.zarr --model denoiser/last.safetensors -o clones.zarr
    torchrun --nproc_per_node=2 -m datarobust.tools.edmtrain c10.zarr --epochs 4000 -o denoiser
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from datarobust.errors import UsageError

from . import _cli, _diffusion, _training

if TYPE_CHECKING:
    import torch

    from datarobust.clones.judging import Judgement
    from datarobust.runs.denoising import DenoiserJob
    from datarobust.training.loop import Line

app = _cli.tool(__doc__)
_SUITS = "; what suits the images if not given."


Dataset = Annotated[Path, typer.Argument(metavar="D.zarr", help="Images to learn; - takes their path from stdin.")]
Epochs = Annotated[int, typer.Option("--epochs", metavar="N", help="Each of ceil(points / batch) steps.")]
Batch = Annotated[int, typer.Option("--batch", metavar="N", help="Images of a step.")]
HalfLife = Annotated[
    float, typer.Option("--ema-images", metavar="N", help="Half-life of weights in the average, at most.")
]
LevelMean = Annotated[float, typer.Option("--p-mean", metavar="X", help="Mean of ln sigma in training.")]
LevelDeviation = Annotated[float, typer.Option("--p-std", metavar="X", help="Deviation of ln sigma.")]
Augment = Annotated[
    float, typer.Option("--augment", metavar="P", help="Probability of each augmentation; 0.12 is EDM's.")
]
Labelled = Annotated[bool, typer.Option("--labels/--no-labels", help="Whether the denoiser is told labels.")]
Arch = Annotated[Literal["ddpmpp", "ncsnpp"], typer.Option("--arch", help="DDPM++ or NCSN++.")]
Width = Annotated[int | None, typer.Option("--width", metavar="N", help=f"Channels{_SUITS}")]
Levels = Annotated[
    str | None,
    typer.Option("--mult", metavar="N,N..", help=f"Factors of the width, one a level{_SUITS}"),
]
Blocks = Annotated[int | None, typer.Option("--blocks", metavar="N", help=f"Blocks a level{_SUITS}")]
Attention = Annotated[
    str | None,
    typer.Option("--attention", metavar="N,N..", help=f"Resolutions with attention{_SUITS}"),
]
Dropout = Annotated[float | None, typer.Option("--dropout", metavar="P", help=f"In training{_SUITS}")]
Judge = Annotated[
    str | None, typer.Option("--judge", metavar="C", help="A classifier artifact or module:factory; needs --test.")
]
Judged = Annotated[int, typer.Option("--judged", metavar="N", min=2, help="How many images are judged.")]


def _numbers(option: str, text: str | None) -> tuple[int, ...] | None:
    """A list such as 2,2,2; None where nothing is given."""
    if text is None:
        return None
    try:
        return tuple(int(word) for word in text.split(",") if word)
    except ValueError:
        raise UsageError(f"{option} {text} is no list of whole numbers such as 2,2,2.") from None


@app.command()
def edmtrain(  # noqa: D103 - the help is the docstring of the module
    dataset: Dataset,
    output: _cli.Output,
    epochs: Epochs = 200,
    batch: Batch = 64,
    lr: _cli.Rate = 1e-3,
    ema_images: HalfLife = 500_000.0,
    p_mean: LevelMean = -1.2,
    p_std: LevelDeviation = 1.2,
    augment: Augment = 0.0,
    labelled: Labelled = True,
    kind: Arch = "ddpmpp",
    width: Width = None,
    mult: Levels = None,
    blocks: Blocks = None,
    attention: Attention = None,
    dropout: Dropout = None,
    precision: _cli.Precision = "fp32",
    test: _cli.Test = None,
    judge: Judge = None,
    judged: Judged = 1000,
    seed: _cli.Seed = 0,
    device: _cli.Device = "auto",
    threads: _cli.Threads = None,
    memory: _cli.Memory = 8.0,
    save_every: _cli.SaveEvery = 60.0,
    tensorboard: _training.TensorBoard = False,
    dry_run: _cli.DryRun = False,
    as_json: _cli.Json = False,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    options = dict(locals())
    if (judge is None) != (test is None):
        raise UsageError("--judge and --test go together: a classifier, and real images that were not trained on.")
    from datarobust import artifacts, distributed
    from datarobust.diffusion.training import Recipe
    from datarobust.runs.denoising import DenoiserJob, Size

    points = artifacts.open_store(_cli.argument_path(dataset), "dataset")
    options |= {"P_mean": p_mean, "P_std": p_std}
    recipe = Recipe(**{field.name: options[field.name] for field in fields(Recipe) if field.name in options})
    levels, resolutions = _numbers("--mult", mult), _numbers("--attention", attention)
    size = Size(kind, width, levels, blocks, resolutions, dropout)
    with distributed.group() as processes:
        job = DenoiserJob(points, recipe, size, labelled, int(memory * 1e9), processes)
        if dry_run:
            _cli.emit(json.dumps(job.plan()))
            return
        _train(job, output, options)


def _train(job: DenoiserJob, output: Path, options: dict[str, Any]) -> None:
    """Train, unless this very run is done; a signal saves the state first."""
    from datarobust import artifacts, runs

    if options["tensorboard"]:
        runs.demand_tensorboard()
    processes, overwrite = job.processes, options["overwrite"]
    device = _cli.torch_device(options["device"], options["threads"], processes.here)
    run = job.run_at(output, _cli.step("edmtrain", job.recipe.seed, device.type, {"dataset": job.dataset.digest}))
    run.tensorboard = options["tensorboard"] and processes.leads
    if not processes.agree(processes.leads and not overwrite and run.finished()):
        with artifacts.Lock(output) if processes.leads else nullcontext(), _cli.deferred() as stopped:
            if processes.leads:
                run.begin(overwrite)
            _cli.resumable()
            told = (job.recipe.epochs, job.recipe.batch, _figures, _figures)
            listener = _training.Listener(*told, stopped, options["quiet"])
            if job.train(run, device, listener, options["save_every"]) and processes.leads:
                run.finish()
    if processes.leads:
        run.tell_tensorboard()
        judgement = _judge(output, options, device) if options["judge"] is not None else None
        _cli.emit(_result(output, judgement) if options["as_json"] else str(output))


def _judge(output: Path, options: dict[str, Any], device: torch.device) -> Judgement:
    """What the classifier says of the finished denoiser."""
    from datarobust import artifacts
    from datarobust.checkpoints.models import load_denoiser, load_model
    from datarobust.clones.judging import judge

    judged = load_model(options["judge"])
    denoiser, weights = load_denoiser(output / "last.safetensors")
    found = judge(
        artifacts.open_store(options["test"], "dataset"),
        _diffusion.prepared(denoiser, "fp32", device, compiled=False),
        weights,
        judged.module,
        options["judged"],
        _diffusion.batch_of(device),
        device,
        lambda label: _cli.progress(options["quiet"], label),
    )
    _cli.say(found.sentence())
    return found


def _result(output: Path, judgement: Judgement | None) -> str:
    """The last line of the log, where the weights are, and the judgement, as one JSON object."""
    from datarobust import runs

    told = {} if judgement is None else {"judgement": judgement.as_json()}
    weights = str(output / "last.safetensors")
    return json.dumps({"run": str(output), "last": weights, **runs.read_log(output)[-1], **told})


def _figures(line: Line) -> str:
    """An epoch, or how one stands, in words."""
    return f"loss {line['loss']:.4f}"


def main() -> None:
    """Run the command."""
    _cli.run(app, "edmtrain")


if __name__ == "__main__":
    main()
