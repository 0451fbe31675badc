"""Evaluate classifiers under attack: clean and AutoAttack accuracies, AA_b and AA_l, and the deltas of Tables 2 to 4.

The official attacks of AutoAttack (Croce & Hein 2020) are run on the points of a dataset, one after the other, each on
what those before it left. A MODEL is a classifier of advtrain or model import, or module:factory or
path/to/file.py:factory, a function without arguments that makes a torch.nn.Module from images in [0,1] to logits; its
code is run. For each one line of JSON is printed: clean accuracy, AutoAttack accuracy and their difference as shares of
the points, what each attack did, signs of unreliability (flags), radius, seed, versions.

--attacks standard is what AutoAttack means. fast leaves out its last two attacks, which in published logs changed
nothing; it gives an upper bound, and calls it so. rand is for networks that depend on chance. Names with commas
between, as apgd-ce,square, run just these, with --restarts, --iterations, --targets and --queries. With fewer than ten
classes the targeted attacks take all wrong ones; what three or two classes leave no room for is left out and named.

Verdicts follow from points, seed and --batch alone, and are those of the plain library. --physical-batch, which halves
itself where memory runs out, processes and devices change rounding at most, and so do --faster and --compile: what they
find counts only where it fools the network itself, in single precision (rechecked: how often it did not). With -o
verdicts point by point become an artifact, and a run that was killed goes on where it was. Several models take an -o
each.

For example:

    aaeval digits.zarr run/best.safetensors --norm linf --eps 0.1 --limit 50
    aaeval c10-test.zarr run/best.safetensors run/last.safetensors -o best.zarr -o last.zarr
    aaeval c10-test.zarr models.py:resnet --attacks fast --norm l2 --eps 128/255 -o fast.zarr
    torchrun --nproc_per_node=2 -m datarobust.tools.aaeval c10-test.zarr run/last.safetensors -o last.zarr
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datarobust.errors import DataError, UsageError

from . import _cli, _models
from ._progress import Loop

if TYPE_CHECKING:
    from datarobust.distributed import Group
    from datarobust.evaluations.job import Job, Points

app = _cli.tool(__doc__)
_VERSIONS = ("standard", "plus", "rand", "fast")

Dataset = Annotated[Path, typer.Argument(metavar="D.zarr", help="Images to attack; - takes their path from stdin.")]
Models = Annotated[list[str], typer.Argument(metavar="MODEL...", help="Classifiers: artifacts or module:factory.")]
ForceEps = Annotated[bool, typer.Option("--force-eps", help="Take a radius that is almost the whole cube.")]
Attacks = Annotated[
    str, typer.Option("--attacks", metavar="WHICH", help="standard, plus, rand, fast, or names with commas between.")
]
Fast = Annotated[bool, typer.Option("--fast", help="--attacks fast: APGD-CE and APGD-T, an upper bound.")]
Restarts = Annotated[int | None, typer.Option("--restarts", metavar="N", min=1, help="Of named attacks.")]
Iterations = Annotated[int | None, typer.Option("--iterations", metavar="N", min=1, help="Of named attacks.")]
Targets = Annotated[int | None, typer.Option("--targets", metavar="N", min=1, help="Wrong classes of named attacks.")]
Queries = Annotated[int | None, typer.Option("--queries", metavar="N", min=1, help="Of square, where it is named.")]
Batch = Annotated[int, typer.Option("--batch", metavar="N", min=1, help="Images of a logical batch: fixes all noise.")]
Physical = Annotated[
    int | None, typer.Option("--physical-batch", metavar="N", min=1, help="Images in memory at a time; all of a batch.")
]
Adversarial = Annotated[bool, typer.Option("--adversarial", help="Keep the adversarial images, as float32.")]
Strict = Annotated[bool, typer.Option("--strict", help="Fail where there is a sign of unreliability.")]
Faster = Annotated[
    bool,
    typer.Option(
        "--faster", help="On a GPU, attack a faster copy that rounds otherwise; verdicts are the network's own."
    ),
]
Compile = Annotated[bool, typer.Option("--compile", help="Have torch.compile fuse the network; pays on a GPU.")]
Official = Annotated[
    bool,
    typer.Option(
        "--official", help="Do not stop gradient attacks once a batch is fooled: the same verdicts, more slowly."
    ),
]


@app.command()
def aaeval(  # noqa: D103 - the help is the docstring of the module
    dataset: Dataset,
    models: Models,
    output: _cli.Outputs = None,
    norm: _cli.AnyAttackNorm = "linf",
    eps: _cli.Eps = None,
    force_eps: ForceEps = False,
    attacks: Attacks = "standard",
    fast: Fast = False,
    restarts: Restarts = None,
    iterations: Iterations = None,
    targets: Targets = None,
    queries: Queries = None,
    batch: Batch = 250,
    physical_batch: Physical = None,
    adversarial: Adversarial = False,
    strict: Strict = False,
    select: _cli.Select = None,
    limit: _cli.Limit = None,
    faster: Faster = False,
    compiled: Compile = False,
    official: Official = False,
    seed: _cli.Seed = 0,
    device: _cli.Device = "auto",
    threads: _cli.Threads = None,
    dry_run: _cli.DryRun = False,
    as_json: _cli.Json = False,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    options = dict(locals())
    from datarobust import distributed

    outputs = _outputs(output, models, limit, overwrite)
    with distributed.group() as processes:
        points = _points(dataset, select, limit)
        there = _cli.torch_device(device, threads, processes.here)
        with _models.foreign_code():
            jobs = [_job(name, points, options, there) for name in models]
        flagged = []
        for job, path in zip(jobs, outputs, strict=True):
            if dry_run:
                _cli.emit(json.dumps(job.cost()))
                continue
            with _models.foreign_code():
                found = _evaluated(job, path, processes, options)
            where = {"model": job.model.name, "dataset": str(points.dataset.path), "evaluation": path and str(path)}
            line = json.dumps(where | found)
            if strict and found["flags"]:
                flagged.append(f"{job.model.name} ({', '.join(found['flags'])})")
                _cli.say(line)
            else:
                _cli.emit(line)
        if flagged:
            raise DataError(f"signs of an unreliable evaluation, which --strict does not accept: {'; '.join(flagged)}.")


def _outputs(given: list[Path] | None, models: list[str], limit: int | None, overwrite: bool) -> list[Path | None]:
    """An output for each model, or none at all."""
    from datarobust.evaluations import lines

    if not given:
        if overwrite:
            raise UsageError("--overwrite replaces an output: name it with -o.")
        return [None] * len(models)
    if limit is not None:
        raise UsageError("--limit is for a quick look: leave out -o, or take a part with --select first:N.")
    if len(given) != len(models):
        raise UsageError(f"{len(models)} models take {len(models)} outputs, not {len(given)}: give an -o for each.")
    lines.demand_distinct(given)
    return list(given)


def _points(dataset: Path, select: str | None, limit: int | None) -> Points:
    """The points to attack."""
    from datarobust import artifacts, selection
    from datarobust.evaluations import job

    store = artifacts.open_store(_cli.argument_path(dataset), "dataset")
    if select is not None and limit is not None:
        raise UsageError("--select and --limit both choose points: give one of them.")
    if limit is not None:
        select = f"first:{min(limit, len(store))}"
    if select is None:
        return job.Points(store)
    chosen = selection.choose(select, store)
    for remark in chosen.remarks():
        _cli.say(remark)
    return job.Points(store, chosen)


def _job(name: str, points: Points, options: dict[str, Any], device: Any) -> Job:
    """The evaluation of one model; refuses what cannot be evaluated."""
    from datarobust import evaluation
    from datarobust.checkpoints.models import load_model
    from datarobust.evaluation.checks import demand_radius
    from datarobust.evaluations.job import Job, classes_of
    from datarobust.norms import ATTACK_NORMS

    norm = options["norm"]
    eps = ATTACK_NORMS[norm].eps if options["eps"] is None else options["eps"]
    demand_radius(norm, eps, points.images.shape[1:], options["force_eps"])
    model = load_model(name)
    classes = classes_of(model, points, device)
    which = "fast" if options["fast"] else options["attacks"]
    if options["fast"] and options["attacks"] not in ("standard", "fast"):
        raise UsageError(f"--fast and --attacks {options['attacks']} contradict each other.")
    plan = evaluation.plan(
        which if which in _VERSIONS else "custom",  # type: ignore[arg-type]
        norm,
        eps,
        classes,
        attacks=None if which in _VERSIONS else [part.strip() for part in which.split(",")],
        restarts=options["restarts"],
        iterations=options["iterations"],
        targets=options["targets"],
        queries=options["queries"],
        seed=options["seed"],
        batch=options["batch"],
    )
    for attack, why in plan.left_out:
        _cli.say(f"{attack} is left out: {why}.")
    return Job(
        points,
        model,
        plan,
        device,
        keep=options["adversarial"],
        limit=options["physical_batch"],
        faster=options["faster"],
        compiled=options["compiled"],
        official=options["official"],
    )


def _evaluated(job: Job, output: Path | None, processes: Group, options: dict[str, Any]) -> dict[str, Any]:
    """Evaluate, unless that was done before; what the line tells."""
    from datarobust import artifacts
    from datarobust.evaluation.checks import REMARKS
    from datarobust.evaluations.job import part_of
    from datarobust.evaluations.lines import line, stored

    overwrite = options["overwrite"]
    if output is not None and processes.agree(
        processes.leads and not overwrite and artifacts.finished(output, job.request)
    ):
        _cli.say(f"{output} was finished before; nothing to do.")
        store = artifacts.open_store(output, "evaluation")
        return line(stored(store), store.attributes)
    if output is not None:
        _cli.resumable()
    with artifacts.Lock(part_of(output, processes)) if output is not None else nullcontext():
        if output is not None and processes.leads:
            artifacts.demand_vacant(output, "evaluation", overwrite)
        watch = _Watch(job, options["quiet"])
        outcome = job.run(output, watch.progress, processes, watch.standing)
        if output is not None and processes.leads:
            step = _cli.step("aaeval", job.plan.seed, job.device.type, job.inputs)
            job.save(output, outcome, step, overwrite)
            job.clean(output)
        processes.agree(True)  # nobody leaves before the result is safe
    for sign in outcome.flags:
        _cli.say(f"{job.model.name}: {sign}: {REMARKS[sign]}.")
    return line(job.columns(outcome), job.attributes(outcome))


class _Watch:
    """Tells how far an attack is, and how many points withstand so far."""

    def __init__(self, job: Job, quiet: bool) -> None:
        self._name, self._quiet = job.model.name, quiet
        self._right, self._seen = len(job.points.labels), 0

    def progress(self, stage: str) -> Loop:
        """For the batches of a stage."""
        points = float(self._right)
        unit = ("images", lambda batches: points / batches)
        return _cli.progress(self._quiet, f"{self._name} {stage}", unit, lambda: self._note(stage))

    def standing(self, right: int, seen: int) -> None:
        """So many of so many are classified right."""
        self._right, self._seen = right, seen

    def _note(self, stage: str) -> str:
        words = "right" if stage == "clean" else "robust so far"
        return f"{words} {self._right / self._seen:.2%}" if self._seen else ""


def main() -> None:
    """Run the command."""
    _cli.run(app, "aaeval")


if __name__ == "__main__":
    main()
