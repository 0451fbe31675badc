"""Evaluate classifiers under attack: clean and AutoAttack accuracies, AA_b and AA_l, and the deltas of Tables 2 to 4.

The official attacks of AutoAttack (Croce & Hein 2020) run one after the other, each on the points that are still
classified correctly. A MODEL is a classifier made by advtrain, model fetch or model import; or module:factory or
path/to/file.py:factory, a function without arguments that returns a torch.nn.Module from images in [0,1] to logits
(its code is run); or timm:NAME, a pretrained network of timm; or hf:FOLDER, a network saved by transformers. For each
MODEL a terminal shows three lines. A pipe or file, or --json, gets one line of JSON, whose keys are always the same:
clean accuracy, AutoAttack accuracy and their difference (delta) as fractions of the points, the effect of each attack,
signs of unreliability (flags), radius, seed, versions.

--attacks standard is AutoAttack. fast leaves out its last two attacks, so the accuracy is an upper bound, and
"upper_bound" is true. rand averages 20 gradients, for networks with random outputs. Names separated by commas, such as
apgd-ce,square, run only these, with --restarts, --iterations, --targets and --queries. With fewer than ten classes the
targeted attacks use all wrong classes; with two or three classes some attacks are impossible, and are skipped and
named.

The result depends on points, seed and --batch only, and is that of the plain library. --physical-batch (halved when
memory runs out), processes and devices change only rounding, and so do --compile and the faster copy that is attacked
on a GPU: an adversarial image counts only if it fools the network itself in single precision ("rechecked" counts those
that did not). With -o the verdict on each point is kept in an artifact, and an interrupted run resumes. Several models
need one -o each.

For example:

    aaeval digits.zarr run/best.safetensors --norm linf --eps 0.1 --limit 50
    aaeval c10-test.zarr run/best.safetensors run/last.safetensors -o best.zarr -o last.zarr
    aaeval c10-test.zarr models.py:resnet --attacks fast --norm l2 --eps 128/255 -o fast.zarr
    torchrun --nproc_per_node=2 -m datarobust.tools.aaeval c10-test.zarr run/last.safetensors -o last.zarr
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, cast, get_args

from datarobust.errors import DataError, UsageError

from . import _cli
from ._cli import argument, flag, option
from ._console import Loop, emit_plan, emit_result, percent

app = _cli.tool(__doc__)


@app.command()
def aaeval(  # noqa: D103 - the help is the docstring of the module
    dataset: Annotated[Path, argument("D.zarr", "Images to attack; - takes their path from stdin.")],
    models: Annotated[list[str], argument("MODEL...", "Classifiers: artifacts or module:factory.")],
    output: _cli.Outputs = None,
    normalise: _cli.Normalise = None,
    norm: _cli.AnyAttackNorm = "linf",
    eps: _cli.Eps = None,
    force_eps: Annotated[bool, flag("--force-eps", "Allow a very large radius.")] = False,
    attacks: Annotated[str, option("WHICH", "standard, plus, rand, fast, or names separated by commas.")] = "standard",
    fast: Annotated[
        bool, flag("--fast", "Same as --attacks fast: only APGD-CE and APGD-T, an upper bound of the accuracy.")
    ] = False,
    restarts: Annotated[int | None, option("N", "For attacks given by name only.", min=1)] = None,
    iterations: Annotated[int | None, option("N", "For attacks given by name only.", min=1)] = None,
    targets: Annotated[int | None, option("N", "Target classes, for attacks given by name only.", min=1)] = None,
    queries: Annotated[int | None, option("N", "Queries of the attack square, if given by name.", min=1)] = None,
    batch: Annotated[
        int, option("N", "Logical batch size; together with --seed it decides all random numbers.", min=1)
    ] = 250,
    physical_batch: Annotated[
        int | None, option("N", "Images in memory at a time; default a whole batch.", min=1)
    ] = None,
    adversarial: Annotated[bool, flag("--adversarial", "Keep the adversarial images, as float32.")] = False,
    strict: Annotated[bool, flag("--strict", "Fail if there is a sign that the result is unreliable.")] = False,
    select: _cli.Select = None,
    limit: _cli.Limit = None,
    faster: Annotated[
        bool,
        flag("--faster/--no-faster", "Attack a faster copy on a GPU; results are checked with the network itself."),
    ] = True,
    compiled: _cli.Compiled = None,
    official: Annotated[
        bool,
        flag("--official", "Do not stop gradient attacks when all images of a batch are fooled; slower, same results."),
    ] = False,
    seed: _cli.Seed = 0,
    device: _cli.Device = "auto",
    threads: _cli.Threads = None,
    dry_run: _cli.DryRun = False,
    as_json: _cli.Json = False,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    from datarobust import artifacts, distributed, evaluation, selection
    from datarobust.checkpoints.models import load_model
    from datarobust.evaluation.checks import REMARKS, demand_radius
    from datarobust.evaluation.driver import Options
    from datarobust.evaluation.statistics import summary
    from datarobust.jobs.aaeval import Evaluation, Points, classes_of, read
    from datarobust.jobs.make import make
    from datarobust.networks import seconds_per_image
    from datarobust.networks.classifier import frozen
    from datarobust.norms import norm_of

    if fast and attacks not in ("standard", "fast"):
        raise UsageError(f"--fast and --attacks {attacks} contradict each other.")
    if select is not None and limit is not None:
        raise UsageError("--select and --limit both choose points: give one of them.")
    outputs = _outputs(output or [], len(models), limit, overwrite)
    known = "fast" if fast else cast(evaluation.Version, attacks) if attacks in get_args(evaluation.Version) else None
    names = [part.strip() for part in attacks.split(",")] if known is None else None
    radius = norm_of(norm).eps if eps is None else eps
    with distributed.group() as group:
        store = _cli.opened(dataset)
        first = f"first:{min(limit or len(store), len(store))}"
        chosen = selection.choose(first if select is None else select, store)
        _cli.say(*chosen.remarks())
        points = Points(store, chosen)
        demand_radius(norm, radius, points.images.shape[1:], force_eps)
        torch_device = _cli.torch_device(device, threads, group.here)
        options = Options(torch_device, adversarial, physical_batch, faster, False, official)
        jobs = []
        with _cli.foreign_code():
            for name in models:
                model = load_model(name, normalise)
                protocol = evaluation.plan(
                    known or "custom", norm, radius, classes_of(model, points, torch_device), attacks=names,
                    restarts=restarts, iterations=iterations, targets=targets, queries=queries, seed=seed, batch=batch,
                )  # fmt: skip
                for attack, why in protocol.left_out:
                    _cli.say(f"{attack} is skipped: {why}.")
                standing = _Standing(name, len(chosen.rows))
                job = Evaluation(points, model, protocol, options, standing.update)
                if not dry_run:
                    fused = _cli.compiled_of(compiled, torch_device, job.operations, group)
                    job = replace(job, options=replace(options, compiled=fused))
                jobs.append((job, standing))
        flagged = []
        for (job, standing), path in zip(jobs, outputs, strict=True):
            if dry_run:
                plan, shape = job.plan(), points.images.shape[1:]
                with _cli.foreign_code(), frozen(job.model.module):
                    seconds = seconds_per_image(job.model.module, "fp32", shape, torch_device)
                emit_plan(plan, seconds * plan["forward_passes"] / group.size, str(torch_device), most=True)
                continue
            new = True
            with _cli.foreign_code():
                if path is None:
                    result = summary(*job.evaluate(standing.progress, group))
                else:
                    _cli.resumable()
                    step = _cli.step("aaeval", seed, torch_device.type)
                    # Verdicts are small and attacks are long: saved this often, hardly any work is lost.
                    new = make(
                        job, path, step, overwrite=overwrite, group=group, labelled=standing.progress, save_every=1.0
                    )
                    result = read(artifacts.open_store(path, "evaluation"))
            if new:
                if faster and torch_device.type == "cuda" and not result["faster"]:
                    _cli.say(f"{job.model.name} has no faster copy for a GPU: attacks ran the network itself.")
                _cli.say(*(f"{job.model.name}: {sign}: {REMARKS[sign]}." for sign in result["flags"]))
            else:
                _cli.say(f"{path} was finished before; nothing to do.")
            about = {"model": job.model.name, "dataset": str(points.dataset.path), "evaluation": path and str(path)}
            if strict and result["flags"]:
                flagged.append(f"{job.model.name} ({', '.join(result['flags'])})")
                _cli.say(json.dumps(about | result))
            else:
                emit_result(about | result, _lines)
        if flagged:
            raise DataError(f"signs of an unreliable evaluation, which --strict does not accept: {'; '.join(flagged)}.")


def _outputs(outputs: list[Path], models: int, limit: int | None, overwrite: bool) -> list[Path] | list[None]:
    """An output for each model, or none at all."""
    if not outputs:
        if overwrite:
            raise UsageError("--overwrite replaces an output: name it with -o.")
        return [None] * models
    if limit is not None:
        raise UsageError("--limit is for a quick look: leave out -o, or take a part with --select first:N.")
    if len(outputs) != models:
        raise UsageError(f"{models} models take {models} outputs, not {len(outputs)}: give an -o for each.")
    if len({path.absolute() for path in outputs}) < models:
        raise UsageError("two models cannot have one output: name another with each -o.")
    return outputs


def _lines(result: Mapping[str, Any]) -> Iterator[str]:
    """A result for a person."""
    points, every = result["points"], result["dataset_points"] or result["points"]
    some = f"{points:,} points" if points == every else f"{points:,} of {every:,} points"
    yield f"{result['model']} on {result['dataset']}: {some}, {result['norm']} {result['eps']}, {result['version']}"
    most, least = ("at most ", "at least ") if result["upper_bound"] else ("", "")
    robust, delta = f"AutoAttack {most}{percent(result['autoattack'])}", f"{least}{percent(result['delta'])}"
    yield f"clean {percent(result['clean'])}, {robust}, difference {delta}"
    attacks = ", ".join(f"{attack['attack']} {percent(attack['accuracy'])}" for attack in result["attacks"])
    yield f"accuracy after {attacks}; signs of unreliability: {', '.join(result['flags']) or 'none'}"


class _Standing:
    """Shows how far an attack is, and how many points withstand so far."""

    def __init__(self, name: str, points: int) -> None:
        self._name = name
        self._right, self._seen = points, 0

    def progress(self, stage: str) -> Loop:
        """For the batches of a stage."""
        points = float(self._right)
        words = "right" if stage == "clean" else "robust so far"

        def note() -> str:
            return f"{words} {self._right / self._seen:.2%}" if self._seen else ""

        return _cli.progress(f"{self._name} {stage}", ("images", lambda batches: points / batches), note)

    def update(self, right: int, seen: int) -> None:
        """So many of so many are classified right."""
        self._right, self._seen = right, seen


main = _cli.main(app, "aaeval")

if __name__ == "__main__":
    main()
