"""Clone images with a diffusion model: Section 4, Figures 3 and 7 to 15.

An image is mixed with 45 % of noise and denoised by the sampler of Karras et al. 2022 (Algorithm 2); the options have
their names. The paper does not say how image and noise are weighted, or which point of its grid was chosen. So --start
selects a reading, and the defaults are the centre of the grid of Appendix B. Each run reports and stores the
coefficient of the image, the standard deviation of the noise, and the sigma that the denoiser gets.

    paper     sigma_max z / |w|: weights of norm 1; the smallest change to the program of Karras et al.
    unit      sigma_max z / sd(z): a mixture of variance 1
    matched   image + w/(1 - w) noise: the denoiser gets the true sigma, and no churn is needed
    noise     no image: plain sampling, with the sampler of Karras et al.

A clone depends on image, label, --seed, row and repeat only; batches, processes and devices change rounding. An
interrupted run resumes; at most 20 seconds of work are lost.

For example:

    clone digits.zarr --model run/last.safetensors -o k.zarr
    clone c10.zarr --model edm.safetensors --select r.zarr:least:10000 -o k.zarr
    clone c10.zarr --model edm.safetensors --select r.zarr:least:1024 --repeats 10 --precision bf16 -o k.zarr
    torchrun --nproc_per_node=2 -m datarobust.tools.clone c10.zarr --model edm.safetensors -o k.zarr
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated

from . import _cli
from ._cli import option
from ._console import emit_plan

app = _cli.tool(__doc__)
_SUITS = "; default depends on --start."


@app.command()
def clone(  # noqa: D103 - the help is the docstring of the module
    dataset: _cli.Images,
    model: _cli.DenoiserFile,
    output: _cli.Output,
    select: _cli.Select = None,
    repeats: Annotated[int, option("R", "Clones of each image.", min=1)] = 1,
    start: _cli.Start = "paper",
    noise_weight: _cli.NoiseWeight = 0.45,
    labels: Annotated[str, option("own|random|FILE", "Classes of the clones; FILE has one line per point.")] = "own",
    num_steps: Annotated[int | None, option("N", f"Steps of the sampler{_SUITS}", min=1)] = None,
    sigma_min: Annotated[float | None, option("X", f"Smallest noise level{_SUITS}")] = None,
    sigma_max: Annotated[float | None, option("X", f"Largest noise level{_SUITS}")] = None,
    rho: Annotated[float | None, option("X", f"Exponent of the schedule{_SUITS}")] = None,
    s_churn: Annotated[float | None, option("X", f"Amount of churn{_SUITS}", "--S-churn")] = None,
    s_min: Annotated[float | None, option("X", f"No churn below this noise level{_SUITS}", "--S-min")] = None,
    s_max: Annotated[float | None, option("X", f"No churn above this noise level{_SUITS}", "--S-max")] = None,
    s_noise: Annotated[float | None, option("X", f"Factor of the added noise{_SUITS}", "--S-noise")] = None,
    precision: _cli.Precision = "auto",
    compiled: _cli.Compiled = None,
    batch: _cli.CloneBatch = None,
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
    from datarobust.diffusion.cloning import default_batch, shared_batch
    from datarobust.diffusion.denoiser import prepare, seconds_of
    from datarobust.diffusion.sampler import sampler_of
    from datarobust.jobs.clone import Cloning
    from datarobust.jobs.make import make

    steps = {"num_steps": num_steps, "sigma_min": sigma_min, "sigma_max": sigma_max, "rho": rho}
    churn = {"S_churn": s_churn, "S_min": s_min, "S_max": s_max, "S_noise": s_noise}
    with distributed.group() as group:
        sampler = sampler_of(start, steps | churn)
        points, chosen, denoiser, weights = _cli.load_denoiser(dataset, model, select, limit)
        place = _cli.torch_device(device, threads, group.here)
        size = batch or default_batch(place.type)
        precision = _cli.precision_of(precision, place, "bf16", None if overwrite else output, group)
        how = (sampler, start, noise_weight, repeats, labels, precision, seed, size)
        job = Cloning(points, denoiser, weights, chosen, *how)
        _cli.say(*job.remarks())
        plan = job.plan()
        fused = not dry_run and _cli.compiled_of(compiled, place, lambda: float(plan["operations"]), group)
        job = replace(job, compiled=fused)
        prepare(denoiser, precision, str(place), compiled=fused)
        if dry_run:
            emit_plan(plan, seconds_of(plan["operations"], denoiser) / group.size, str(place))
            return
        _cli.resumable()
        together = shared_batch(plan["clones"], size, group.size) * group.size
        unit = ("images", lambda batches: float(together))
        progress = _cli.progress(f"cloning {plan['clones']:,} images, batches", unit)
        step = _cli.step("clone", seed, _cli.hardware(place))
        new = make(job, output, step, overwrite=overwrite, group=group, progress=progress)
    result = {"clones": str(output), "new": new, "count": plan["clones"]}
    begin = {"start": plan["start"], "sampler": plan["sampler"]}
    _cli.emit(json.dumps(result | begin) if as_json else str(output))


main = _cli.main(app, "clone")

if __name__ == "__main__":
    main()
