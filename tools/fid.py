"""Compare two sets of images: FID and the distances of pairs, Tables 1 and 5.

A and B are datasets, clones, or moments. A terminal shows three lines; a pipe or file, or --json, gets one line of
JSON: the Fréchet distance of their features (frechet; fid is the same number with Inception, else null), KID, the
numbers of images, features, mode and weights, and calibration, the noise floor: the distance between two random halves
of A. Where B is made from points of A (clones, a part of it, a part of clones), A is restricted to these, and the pairs
have mean l2 and linf distances in [0, 1] units: oc between images and clones, cc between each clone and the next one of
the same image.

    inception       2,048 features by which the FID is defined; --weights names the published file, or what
                    "model fetch inception" makes; images are enlarged as TensorFlow 1 did it
    classifier:M    the input of a classifier's last linear layer; M is an artifact or module:factory, whose code is run
    pixels          the values themselves
    file:F          features made elsewhere: an npz file with arrays a and b, a row for each image of A and of B

Distances fall with the number of images, about as 1/N: compare those of equal N only, or --extrapolate. KID does not.
--save-moments keeps mean and covariance of A; they take the place of A in later runs, with the same features alone.
With no B that is all that is done, and their path is printed. With -o the line goes into a file too. With either, a run
that was killed goes on where its state was saved, at most 30 seconds before, and a finished one does nothing. Processes
of torchrun share the batches; with the same --threads their number changes no bit.

For example:

    fid digits.zarr clones.zarr --features pixels
    fid c10.zarr clones.zarr --weights pt_inception-2015-12-05-6726825d.pth
    fid c10.zarr --weights pt_inception-2015-12-05-6726825d.pth --save-moments c10-moments.zarr
    clone c10.zarr --model edm.safetensors --select r.zarr:least:10000 -o k.zarr | fid c10.zarr - --features pixels
    torchrun --nproc_per_node=2 -m datarobust.tools.fid c10.zarr k.zarr --weights pt_inception-2015-12-05-6726825d.pth
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from datarobust.errors import UsageError

from . import _cli
from ._cli import argument, flag, option
from ._console import emit_plan, emit_result

app = _cli.tool(__doc__)


@app.command()
def fid(  # noqa: D103 - the help is the docstring of the module
    a: Annotated[Path, argument("A.zarr", "Reference set; - takes its path from stdin.")],
    b: Annotated[Path | None, argument("B.zarr", "Set to compare; - takes its path from stdin.")] = None,
    features: _cli.Features = None,
    weights: _cli.InceptionWeights = None,
    whole: Annotated[bool, flag("--whole", "Never restrict A to the points that B was made from.")] = False,
    output: _cli.OptionalOutput = None,
    save_moments: Annotated[Path | None, option("M.zarr", "Save the moments of A.")] = None,
    extrapolate: Annotated[
        bool, flag("--extrapolate", "Extrapolate the distance to infinitely many images (fit over 1/N).")
    ] = False,
    kid: Annotated[int, option("N", "Subsets for the KID; 0: no KID.", min=0)] = 100,
    batch: Annotated[
        int | None, option("N", "Images per batch; default 256, for Inception 64, or 512 on a GPU.", min=1)
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
    if b is None and save_moments is None:
        raise UsageError("One set has no distance: name a second one, or keep moments of it with --save-moments.")
    if b is None and output is not None:
        raise UsageError("-o is for the line that two sets have: leave it out, or name a second set.")
    if overwrite and save_moments is None and output is None:
        raise UsageError("--overwrite replaces an output: name it with -o or --save-moments.")
    import torch
    from threadpoolctl import threadpool_limits

    from datarobust import distributed
    from datarobust.jobs import fid as jobs
    from datarobust.jobs.make import Text, make

    kinds = ("dataset", "clones", "moments")
    stores = [_cli.opened(path, kinds) for path in (a, b) if path is not None]
    sets = [store for store in stores if store.kind != "moments"]
    if save_moments is not None and stores[0].kind == "moments":
        raise UsageError(f"{stores[0].path} is moments already: leave out --save-moments.")
    if not sets and (features is not None or weights is not None):
        raise UsageError("moments have their features already: leave out --features and --weights.")
    with distributed.group() as group, _cli.foreign_code():
        place, path = _cli.torch_device(device, threads, group.here), output or save_moments
        threadpool_limits(torch.get_num_threads(), "blas")  # NumPy's products have as many threads as PyTorch's
        if sets:
            space = jobs.feature_space(features or "inception", jobs.some_images(sets[0]), place, weights)
        else:
            space = jobs.space_of(stores[0])
        space = replace(space, batch=batch or space.batch)
        job: jobs.KeptMoments | jobs.Comparison
        if b is None:
            job = jobs.KeptMoments(stores[0], jobs.SideFeatures(jobs.side_of(stores[0], limit), space), seed)
        else:
            form = jobs.Printed() if output is None else Text(lambda _: save_moments is None or save_moments.exists())
            job = jobs.Comparison(stores[0], stores[1], space, seed, whole, limit, kid, extrapolate, save_moments, form)
        if dry_run:
            plan = job.plan()
        else:
            if isinstance(job, jobs.Comparison):
                _cli.say(*job.remarks())
            new = True
            if path is not None:
                _cli.resumable()
                step = _cli.step("fid", seed, _cli.place_of(place))
                new = make(
                    job, path, step, overwrite=overwrite, group=group, labelled=_cli.progress, save_every=30.0
                )  # fmt: skip
            product = job.product(path, _cli.progress, group) if isinstance(job, jobs.Comparison) else str(path)
            if not new:
                _cli.say(f"{path} was finished before; nothing to do.")
            elif b is not None and group.is_main:
                _cli.say(*jobs.findings(json.loads(product)))
    if dry_run:
        emit_plan(plan, plan["expected_seconds"], str(place))
    elif b is None:
        _cli.emit(product)
    elif group.is_main:
        emit_result(json.loads(product), _lines)


def _lines(result: Mapping[str, Any]) -> Iterator[str]:
    """A comparison for a person."""
    counts = result["n"]
    name = "FID" if result["fid"] is not None else f"Fréchet distance ({result['features'].partition(':')[0]})"
    sets = f"A {result['a']} ({counts['a']:,} images), B {result['b']} ({counts['b']:,} images)"
    yield f"{name} {result['frechet']:.6g}: {sets}"
    kid, limit, calibration = result["kid"], result["extrapolated"], result["calibration"]
    parts = [] if kid is None else [f"KID {kid['value']:.4g} ({kid['subsets']} subsets of {kid['points']:,} images)"]
    parts += [] if limit is None else [f"extrapolated to infinitely many images: {limit:.6g}"]
    parts += [] if calibration is None else [f"noise floor (two random halves of A): {calibration['frechet']:.4g}"]
    yield "; ".join(parts) or "no KID, no noise floor"
    pairs = {"oc": "image and clone", "cc": "two clones of an image"}
    means = [f"{pairs[key]} l2 {result[key]['l2']:.4g}, linf {result[key]['linf']:.4g}" for key in pairs if result[key]]
    yield f"mean distance in pixels: {'; '.join(means)}" if means else "no pairs: B is not made from points of A"


main = _cli.main(app, "fid")

if __name__ == "__main__":
    main()
