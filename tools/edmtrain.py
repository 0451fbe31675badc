"""Train a denoiser on your own images, for clone: Section 4 without a published checkpoint.

Loss, averaging of weights and network are those of Karras et al. 2022 (EDM preconditioning). For images of at least
32 x 32 pixels the network has the published size, which needs a GPU. For smaller images it is a small one that learns
digits in minutes on two processors.

The result is a folder: last.safetensors (the averaged denoiser), log.jsonl (one line per epoch) and recipe.json. If the
command is interrupted or killed, run it again: it resumes, on the same machine with a bit-identical result.

With --judge, a classifier that was trained on real images reports for how many images it finds the right label: for
samples (made from a label alone), for clones of --test, and for --test itself, as a reference.

For example:

    edmtrain digits.zarr --epochs 200 -o denoiser
    edmtrain digits.zarr --test held-out.zarr --judge run/last.safetensors --epochs 200 -o denoiser
    clone digits.zarr --model denoiser/last.safetensors -o clones.zarr
    torchrun --nproc_per_node=2 -m datarobust.tools.edmtrain c10.zarr --epochs 4000 -o denoiser
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Literal

from datarobust.errors import UsageError

from . import _cli, _console
from ._cli import argument, choice, flag, option
from ._console import emit_plan

app = _cli.tool(__doc__)
_SUITS = "; default depends on the image size."


def _numbers(option: str, text: str | None) -> tuple[int, ...] | None:
    """A list such as 2,2,2; None where nothing is given."""
    if text is None:
        return None
    try:
        return tuple(int(word) for word in text.split(",") if word)
    except ValueError:
        raise UsageError(f"{option} {text} is not a list of whole numbers such as 2,2,2.") from None


@app.command()
def edmtrain(  # noqa: D103 - the help is the docstring of the module
    dataset: Annotated[Path, argument("D.zarr", "Training images; - takes their path from stdin.")],
    output: _cli.Output,
    epochs: Annotated[int, option("N", "Epochs of ceil(points / batch) steps.")] = 200,
    batch: Annotated[int, option("N", "Batch size.")] = 64,
    lr: _cli.Rate = 1e-3,
    ema_images: Annotated[float, option("N", "Maximum half-life of the weight average, in images.")] = 500_000.0,
    p_mean: Annotated[float, option("X", "Mean of ln(sigma) in training.")] = -1.2,
    p_std: Annotated[float, option("X", "Standard deviation of ln(sigma).")] = 1.2,
    augment: Annotated[float, option("P", "Probability of each augmentation; EDM uses 0.12.")] = 0.0,
    labelled: Annotated[bool, flag("--labels/--no-labels", "Train with or without labels.")] = True,
    kind: Annotated[Literal["ddpmpp", "ncsnpp"], choice("Architecture: DDPM++ or NCSN++.", "--arch")] = "ddpmpp",
    width: Annotated[int | None, option("N", f"Number of channels{_SUITS}")] = None,
    mult: Annotated[str | None, option("N,N..", f"Width factors, one per level{_SUITS}")] = None,
    blocks: Annotated[int | None, option("N", f"Blocks per level{_SUITS}")] = None,
    attention: Annotated[str | None, option("N,N..", f"Resolutions with attention{_SUITS}")] = None,
    dropout: Annotated[float | None, option("P", f"Dropout in training{_SUITS}")] = None,
    precision: _cli.Precision = "auto",
    test: _cli.Test = None,
    judge: Annotated[
        str | None, option("C", "Classifier that judges the images: an artifact or module:factory; needs --test.")
    ] = None,
    judged: Annotated[int, option("N", "How many images to judge.", min=2)] = 1000,
    seed: _cli.Seed = 0,
    device: _cli.Device = "auto",
    threads: _cli.Threads = None,
    memory: _cli.Memory = 8.0,
    save_every: _cli.SaveEvery = 60.0,
    tensorboard: _cli.TensorBoard = False,
    dry_run: _cli.DryRun = False,
    as_json: _cli.Json = False,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    if (judge is None) != (test is None):
        raise UsageError("--judge and --test go together: a classifier, and real images that were not trained on.")
    from datarobust import artifacts, distributed
    from datarobust.artifacts.runs import LAST, read_log
    from datarobust.diffusion.denoiser import prepare, seconds_of
    from datarobust.diffusion.training import Recipe
    from datarobust.jobs.edmtrain import DenoiserTraining
    from datarobust.jobs.edmtrain import judge as judge_denoiser
    from datarobust.jobs.make import make
    from datarobust.jobs.run_folder import demand_tensorboard, rewrite_events

    images = _cli.opened(dataset)
    lists = {"channel_mult": _numbers("--mult", mult), "attn_resolutions": _numbers("--attention", attention)}
    size = {"model_channels": width, "num_blocks": blocks, "dropout": dropout, **lists}
    with distributed.group() as group:
        place = _cli.torch_device(device, threads, group.here)
        # tf32 as in advtrain: factors keep 11 bits. bf16 is faster, but they keep 8.
        precision = _cli.precision_of(precision, place, "tf32", None if overwrite or dry_run else output, group)
        recipe = Recipe(
            epochs, batch, lr, ema_images=ema_images, P_mean=p_mean, P_std=p_std, augment=augment, precision=precision,
            seed=seed,
        )  # fmt: skip
        job = DenoiserTraining(images, recipe, kind, size, labelled, int(memory * 1e9), place, group=group)
        if dry_run:
            plan = job.plan()
            prepare(job.denoiser, precision, str(place))
            emit_plan(plan, seconds_of(plan["operations"], job.denoiser) / group.size, str(place))
            return
        if tensorboard:
            demand_tensorboard()
        with _cli.deferred() as stopped:
            figures = "loss {loss:.4f}".format_map
            listener = _console.Listener(epochs, batch, figures, figures, stopped)
            job = replace(job, listener=listener, tensorboard=tensorboard)
            step = _cli.step("edmtrain", seed, place.type)
            _cli.resumable()
            new = make(job, output, step, overwrite=overwrite, group=group, save_every=save_every)
        if group.is_main:
            if tensorboard and not new:
                rewrite_events(output)
            verdict = {}
            if judge is not None and test is not None:
                images = artifacts.open_store(test, "dataset")
                judgement = judge_denoiser(output / LAST, judge, images, judged, place, _cli.progress)
                _cli.say(judgement.sentence())
                verdict = {"judgement": asdict(judgement)}
            result = {"run": str(output), "last": str(output / LAST)}
            _cli.emit(json.dumps({**result, **read_log(output)[-1], **verdict}) if as_json else str(output))


main = _cli.main(app, "edmtrain")

if __name__ == "__main__":
    main()
