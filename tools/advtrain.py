"""Train a classifier adversarially, as in the paper: TRADES, generated images, a focus on chosen points.

The defaults are the pipeline that the paper modifies (Wang et al. 2023; Section 4, Appendix B). The paper's notation
C10inf,-A,c(B) is --norm linf --hold-out A --track B --schedule c; if B is also in focus, add --focus B. The result is a
folder: best.safetensors and last.safetensors (averaged weights), log.jsonl (one line per epoch; Figure 1 (b) plots it)
and recipe.json. If the command is interrupted or killed, run it again: it resumes, with a bit-identical result.

Tracking does not change the training. Focus does, in one of three ways. inject (the paper's "*") makes PGD-40 examples
of the focus set at the start of each epoch and adds --focus-batch of them to each batch. fixed makes the focus set part
of each epoch, where each of its points is drawn --focus-times as often as another one, with PGD-40 adversaries.
oversample does the same with the adversaries of the training attack. The log says how often both kinds were drawn.

For example:

    advtrain digits.zarr --arch wrn-10-1 --epochs 5 --batch 64 --augment none --hold-out first:100 -o run
    advtrain c10.zarr --generated 20m.zarr --test c10-test.zarr --focus r.zarr:least:1024 --schedule c -o run
    torchrun --nproc_per_node=4 -m datarobust.tools.advtrain c10.zarr -o run
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from . import _cli, _console
from ._cli import argument, choice, option
from ._console import emit_plan

if TYPE_CHECKING:
    from datarobust.artifacts import Store
    from datarobust.selection import Chosen
    from datarobust.training.loop import Line

_FIRST = "first:1024"  # the reference's v
_FIGURES = {
    "train_accuracy": "training",
    "train_robust_accuracy": "against PGD",
    "test_accuracy": "test",
    "test_robust_accuracy": "test against PGD-40",
    "tracked_accuracy": "tracked against PGD-40",
}

app = _cli.tool(__doc__)


@app.command()
def advtrain(  # noqa: D103 - the help is the docstring of the module
    dataset: Annotated[Path, argument("D.zarr", "Training images; - takes their path from stdin.")],
    output: _cli.Output,
    generated: Annotated[Path | None, option("G.zarr", "Generated images to mix in.")] = None,
    test: _cli.Test = None,
    hold_out: Annotated[str, option("SEL", "Points to exclude from training, or none.")] = _FIRST,
    track: Annotated[
        str, option("SEL", "Points whose PGD-40 accuracy decides which epoch is the best, or none.")
    ] = _FIRST,
    focus: Annotated[str | None, option("SEL", "Points to focus on.")] = None,
    focus_mode: Annotated[
        Literal["inject", "oversample", "fixed"], choice("How focus points enter training.")
    ] = "inject",
    focus_batch: Annotated[
        int | None, option("N", "Injected examples in every batch; 32, or fewer if there are fewer in focus.")
    ] = None,
    focus_times: Annotated[
        float, option("X", "How often a focus point is drawn per draw of another point; not for inject.")
    ] = 5.2,
    inject_as: Annotated[
        Literal["input", "adversary"],
        choice("Inject examples as inputs, or as adversarial examples of their originals."),
    ] = "input",
    arch: Annotated[str, option("NAME", "Architecture: wrn-DEPTH-WIDTH or preact-resnet-18.")] = "wrn-28-10",
    norm: _cli.AttackNorm = "linf",
    eps: _cli.Eps = None,
    step: Annotated[float | None, option("X", "Step size of the attack.", parser=_cli.fraction)] = None,
    steps: Annotated[int, option("N", "Steps of the training attack.")] = 10,
    l2_step: Annotated[
        Literal["reference", "stated"],
        choice("l2 step size: reference = 2 eps/steps (published code), stated = --step (paper)."),
    ] = "reference",
    beta: Annotated[float, option("X", "Weight of the robust term of TRADES.")] = 5.0,
    label_smoothing: Annotated[float, option("X", "Label smoothing of the clean loss.")] = 0.1,
    epochs: Annotated[int, option("N", "Epochs of ceil(points / batch) steps.")] = 2400,
    batch: Annotated[int, option("N", "Batch size, without injected examples.")] = 2048,
    generated_fraction: Annotated[float, option("X", "Fraction of generated images in a batch.")] = 0.8,
    schedule: Annotated[
        Literal["original", "a", "b", "c", "d", "e"], choice("Learning rate schedule (Figure 4).")
    ] = "original",
    lr: _cli.Rate = 0.2,
    weight_decay: Annotated[float, option("X", "Weight decay of all parameters except batch norm.")] = 5e-4,
    ema: Annotated[float, option("X", "Decay of the averaged weights.")] = 0.995,
    augment: Annotated[
        Literal["auto", "crop-flip", "crop", "none", "cifar100"],
        choice("Augmentation; auto depends on the data set, because flips would corrupt digits."),
    ] = "auto",
    precision: _cli.Precision = "auto",
    compiled: _cli.Compiled = None,
    bn_group: Annotated[
        int | None, option("N", "Images per group of batch statistics; default a quarter of a batch, 0: all.", min=0)
    ] = None,
    seed: _cli.Seed = 0,
    device: _cli.Device = "auto",
    threads: _cli.Threads = None,
    memory: _cli.Memory = 8.0,
    save_every: _cli.SaveEvery = 300.0,
    tensorboard: _cli.TensorBoard = False,
    dry_run: _cli.DryRun = False,
    as_json: _cli.Json = False,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    from datarobust import artifacts, distributed
    from datarobust.artifacts.runs import BEST, LAST, read_log
    from datarobust.jobs.advtrain import AdversarialTraining, Inputs, augmentation
    from datarobust.jobs.make import make
    from datarobust.jobs.run_folder import demand_tensorboard, rewrite_events
    from datarobust.networks import seconds_per_image
    from datarobust.norms import ball_of, norm_of
    from datarobust.training.recipe import Recipe, default_focus_batch

    base = _cli.opened(dataset)
    inputs = Inputs(
        base,
        None if generated is None else artifacts.open_store(generated, "dataset"),
        None if test is None else artifacts.open_store(test, "dataset"),
        _points("hold_out", hold_out, base),
        _points("track", track, base),
        _points("focus", "none" if focus is None else focus, base),
    )
    _cli.say(*inputs.remarks())
    eps, step = norm_of(norm).eps if eps is None else eps, ball_of(norm).step if step is None else step
    if augment == "auto":
        augment = augmentation(base)
        _cli.say(f"--augment auto: {augment}.")
    if focus_batch is None:
        focus_batch = default_focus_batch(len(inputs.focused))
        if focus_mode == "inject" and len(inputs.focused) and focus_batch < Recipe.focus_batch:
            _cli.say(f"--focus-batch is {focus_batch}, because {len(inputs.focused)} points are in focus.")
    recipe = Recipe(
        arch=arch, norm=norm, eps=eps, step=step, steps=steps, l2_step=l2_step, beta=beta, epochs=epochs, batch=batch,
        label_smoothing=label_smoothing, generated_fraction=generated_fraction, schedule=schedule, lr=lr, ema=ema,
        weight_decay=weight_decay, augment=augment, bn_group=bn_group, focus_mode=focus_mode,
        focus_times=focus_times, focus_batch=focus_batch, inject_as=inject_as, seed=seed,
    )  # fmt: skip
    with distributed.group() as group:
        plan = AdversarialTraining(inputs, recipe, int(memory * 1e9), group=group)
        if dry_run:
            place, cost = _cli.torch_device(device, threads, group.here), plan.plan()
            fast = _cli.precision_of(precision, place, "tf32", None, group)
            shape = plan.points[0].images.shape[1:]
            seconds = seconds_per_image(plan.model.to(place).eval(), fast, shape, place)
            emit_plan(cost, seconds * cost["images"] * cost["forward_passes_an_image"] / group.size, str(place))
            return
        if group.is_main and plan.counts.emphasis is not None:
            _cli.say(plan.counts.emphasis.remark())
        if tensorboard:
            demand_tensorboard()
        torch_device = _cli.torch_device(device, threads, group.here)
        run_step = _cli.step("advtrain", seed, torch_device.type)
        # tf32 is what the published trainings had: PyTorch's default for convolutions, on GPUs that have it.
        run = None if overwrite else output
        precision = _cli.precision_of(precision, torch_device, "tf32", run, group)

        def operations() -> float:  # of programs for whole groups of batch statistics
            return 0.0 if plan.counts.spans(group.size) > 1 else float(plan.plan()["operations"])

        fused = _cli.compiled_of(compiled, torch_device, operations, group, run)
        recipe = replace(recipe, precision=precision, compiled=fused)
        with _cli.deferred() as stopped:
            listener = _console.Listener(epochs, plan.counts.total, _figures, _brief, stopped)
            job = replace(plan, recipe=recipe, device=torch_device, listener=listener, tensorboard=tensorboard)
            job.model  # noqa: B018 - refuses what cannot be built or does not fit, before the folder is made
            _cli.resumable()
            new = make(job, output, run_step, overwrite=overwrite, group=group, save_every=save_every)
        if group.is_main:
            if tensorboard and not new:
                rewrite_events(output)
            if not as_json:
                _cli.emit(str(output))
                return
            best, last = output / BEST, output / LAST
            weights = {"best": str(best) if best.exists() else None, "last": str(last)}
            _cli.emit(json.dumps({"run": str(output), **weights, **read_log(output)[-1]}))


def _points(name: str, text: str, dataset: Store) -> Chosen:
    """The points of an option, which is named where they cannot be had: two have a default that nobody typed."""
    from datarobust.errors import SelectionError
    from datarobust.jobs.advtrain import NONE
    from datarobust.selection import choose

    try:
        return NONE if text == "none" else choose(text, dataset)
    except SelectionError as error:
        default = " That is its default: choose fewer, or none." if text == _FIRST else ""
        raise SelectionError(f"`{name}`: {error}{default}") from error


def _figures(line: Line) -> str:
    """An epoch in words."""
    shares = [f"{words} {line[name]:.2%}" for name, words in _FIGURES.items() if name in line]
    return ", ".join([f"loss {line['loss']:.3f}", *shares])


def _brief(line: Line) -> str:
    """How an epoch stands: accuracy is that on adversaries."""
    return f"loss {line['loss']:.3f}, PGD {line['train_robust_accuracy']:.1%}"


main = _cli.main(app, "advtrain")

if __name__ == "__main__":
    main()
