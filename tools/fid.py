"""Hold two sets of images against each other: FID and the distances of pairs, Tables 1 and 5.

A and B are datasets, clones, or moments. One line of JSON is printed: the Fréchet distance of their features (frechet,
and only where they are Inception's also fid), KID, the numbers of images, features, mode and weights, and calibration,
the distance between two random halves of A: what so many points make of no difference. Where B is made of points of A
(clones, a part of it, a part of clones), A is restricted to these, and the pairs have mean l2 and linf distances in
[0, 1] units: oc between images and clones, cc between each clone and the next one of the same image.

    inception       2,048 features by which the FID is defined; --weights names the published file, which is checked and
                    never downloaded; images are enlarged as TensorFlow 1 did it
    classifier:M    the input of a classifier's last linear layer; M is an artifact or module:factory, whose code is run
    pixels          the values themselves
    file:F          features made elsewhere: an npz file with arrays a and b, a row for each image of A and of B

Distances fall with the number of images, about as 1/N: compare those of equal N only, or --extrapolate. KID does not.
--save-moments keeps mean and covariance of A; they take the place of A in later runs, with the same features alone.
With no B that is all that is done, and their path is printed. With -o the line goes into a file too. With either, a run
that was killed goes on where its state was saved, at most 30 seconds before, and a finished one does nothing.

For example:

    fid digits.zarr clones.zarr --features pixels
    fid c10.zarr clones.zarr --weights pt_inception-2015-12-05-6726825d.pth
    fid c10.zarr --weights pt_inception-2015-12-05-6726825d.pth --save-moments c10-moments.zarr
    clone c10.zarr --model edm.safetensors --select r.zarr:least:10000 -o k.zarr | fid c10.zarr - --features pixels
"""

from __future__ import annotations

import json
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datarobust.errors import UsageError

from . import _cli, _features, _models

if TYPE_CHECKING:
    import torch

    from datarobust.artifacts import Step, Store
    from datarobust.fidelity import Comparison, Result, Side
    from datarobust.fidelity.measuring import Measure

app = _cli.tool(__doc__)


@app.command()
def fid(  # noqa: D103 - the help is the docstring of the module
    a: Annotated[Path, typer.Argument(metavar="A.zarr", help="The reference; - takes its path from stdin.")],
    b: Annotated[
        Path | None, typer.Argument(metavar="B.zarr", help="The other set; - takes its path from stdin.")
    ] = None,
    features: _features.OptionalFeatures = None,
    weights: _features.InceptionWeights = None,
    whole: Annotated[bool, typer.Option("--whole", help="Never restrict A to the points that B was made of.")] = False,
    output: _cli.OptionalOutput = None,
    save_moments: Annotated[
        Path | None, typer.Option("--save-moments", metavar="M.zarr", help="Keep the moments of A.")
    ] = None,
    extrapolate: Annotated[
        bool, typer.Option("--extrapolate", help="Fit distances over 1/N of B, and tell the one without end.")
    ] = False,
    kid: Annotated[int, typer.Option("--kid", metavar="N", min=0, help="Subsets of KID; 0 for none.")] = 100,
    batch: Annotated[
        int | None,
        typer.Option("--batch", metavar="N", min=1, help="Images at a time: 64 for Inception, else 256 if not given."),
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
    from datarobust import artifacts

    stores = [
        artifacts.open_store(_cli.argument_path(path), ("dataset", "clones", "moments"))
        for path in (a, b)
        if path is not None
    ]
    _demand_sense(stores, options)
    place = _cli.torch_device(device, threads)
    with _models.foreign_code():
        asked = _comparison(stores, options, place)
        plan = _plan(asked) if dry_run else None
    if plan is not None:
        _cli.emit(json.dumps(plan | {"device": str(place)}))
        return
    for remark in asked.remarks():
        _cli.say(remark)
    step = _cli.step("fid", seed, _models.place_of(place), {"dataset": stores[0].digest})
    line = _compared(asked, stores, step, options)
    _cli.emit(line)


def _compared(asked: Comparison, stores: list[Store], step: Step, options: dict[str, Any]) -> str:
    """What is printed: a line of numbers, or where the moments are; what was done before is not done again."""
    from datarobust import artifacts
    from datarobust.fidelity import keeping

    output, saved, overwrite = options["output"], options["save_moments"], options["overwrite"]
    known = None if output is None or overwrite else keeping.recorded(output, asked.request)
    if known is not None and (saved is None or saved.exists()):
        _cli.say(f"{output} was finished before; nothing to do.")
        return known
    beside = output or saved
    with artifacts.Lock(beside) if beside is not None else nullcontext():
        if output is not None and known is None:
            keeping.demand_free(output, overwrite)
        if beside is not None:
            _cli.resumable()
        keeper = keeping.Keeper(beside, asked.request)
        with _models.foreign_code():
            found = asked.run(
                saved,
                step,
                keeper=keeper,
                overwrite=overwrite,
                progress=lambda label: _cli.progress(options["quiet"], label),
            )
        line = str(saved) if found is None else _line(found, asked, stores, options)
        if output is not None:
            keeping.write_line(output, line)
        keeper.discard()
    return line


def _line(found: Result, asked: Comparison, stores: list[Store], options: dict[str, Any]) -> str:
    """All numbers as JSON; what they do not say is said."""
    for remark in found.remarks():
        _cli.say(remark)
    saved = options["save_moments"]
    sets = {"a": str(stores[0].path), "b": str(stores[1].path)}
    more = {"seed": options["seed"], "moments": saved and str(saved), "request": asked.request}
    return json.dumps(sets | found.as_json() | more)


def _demand_sense(stores: list[Store], options: dict[str, Any]) -> None:
    """Refuse options that contradict each other."""
    if len(stores) == 1 and options["save_moments"] is None:
        raise UsageError("One set has no distance: name a second one, or keep moments of it with --save-moments.")
    if options["save_moments"] is not None and stores[0].kind == "moments":
        raise UsageError(f"{stores[0].path} is moments already: leave out --save-moments.")
    if len(stores) == 1 and options["output"] is not None:
        raise UsageError("-o is for the line that two sets have: leave it out, or name a second set.")
    if options["overwrite"] and options["save_moments"] is None and options["output"] is None:
        raise UsageError("--overwrite replaces an output: name it with -o or --save-moments.")


def _comparison(stores: list[Store], options: dict[str, Any], place: torch.device) -> Comparison:
    """What the options ask for."""
    from datarobust.fidelity import Comparison, open_sides

    a, b, paired, remark = open_sides(stores[0], stores[1] if len(stores) > 1 else None, options["whole"])
    if options["limit"] is not None:
        a, b = a.first(options["limit"]), None if b is None else b.first(options["limit"])
    if remark is not None:
        _cli.say(f"{remark}.")
    measure = _measure([side for side in (a, b) if side is not None and not side.moments], options, place)
    size = options["batch"] or (measure.batch if measure is not None else 1)
    return Comparison(a, b, paired, measure, size, options["seed"], options["kid"], options["extrapolate"])


def _measure(sides: list[Side], options: dict[str, Any], place: torch.device) -> Measure | None:
    """The features; none where both sets are moments."""
    import numpy as np

    from datarobust.fidelity.measuring import measure_of

    if not sides:
        if options["features"] is not None or options["weights"] is not None:
            raise UsageError("moments have their features already: leave out --features and --weights.")
        return None
    some = sides[0].images(np.arange(min(8, sides[0].count)))
    return measure_of(options["features"] or "inception", some, place, options["weights"])


def _plan(asked: Comparison) -> dict[str, Any]:
    """What the work takes; the time is that of a batch, measured."""
    import numpy as np

    stream = next(iter(asked.streams.values()), None)
    if stream is None:
        return asked.plan(0, 0.0)
    items = np.arange(min(asked.batch, stream.side.count))
    began = time.perf_counter()
    width = stream.features(items).shape[1]
    return asked.plan(width, (time.perf_counter() - began) / len(items))


def main() -> None:
    """Run the command."""
    _cli.run(app, "fid")


if __name__ == "__main__":
    main()
