"""Models in and out: published checkpoints become artifacts, and artifacts what RobustBench takes.

    model import edm-cifar10-32x32-cond-vp.pkl -o edm.safetensors
    model export run/last.safetensors --evaluation last.zarr -o submission

Nothing in a checkpoint of others is ever run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from . import _cli
from ._cli import argument, choice, flag, option

app = _cli.tool(__doc__)

Normalise = Annotated[
    Literal["cifar10", "cifar100", "none"] | None,
    choice("Of images, within the network; as Wang et al. do it if not given.", "--normalise"),
]
_TEXT = "As model_info has it."


@app.command("import")
def import_(
    published: Annotated[Path, argument("PUBLISHED", "A checkpoint as it was published.")],
    output: _cli.Output,
    arch: Annotated[str | None, option("NAME", "wrn-DEPTH-WIDTH or preact-resnet-18.")] = None,
    raw: Annotated[bool, flag("--raw", "The weights before averaging, where there are both.")] = False,
    normalise: Normalise = None,
    weights: Annotated[
        Literal["best", "last"] | None, choice("Which they are; last where the file's name says so, else best.")
    ] = None,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    """Make an artifact of a published checkpoint, without running anything in it.

    Classifiers: files of torch.save with the state dict of a wide residual network with SiLU or of a pre-activation
    ResNet-18: checkpoints of Wang et al. 2023 (names begin with module.0.; averaged weights, or with --raw those
    before averaging) and of RobustBench (names without prefix). Architecture (or --arch) and classes follow from names
    and shapes, every one of which must fit. Normalisation is no part of such files: wide residual networks for 10 and
    100 classes are taken to have that of CIFAR-10 and CIFAR-100.

    Denoisers: pickles of Karras et al. 2022 (EDM), as Wang et al. 2023 use them. Inception: the weights by which the
    FID is defined, as pytorch-fid and torch-fidelity publish them; known by its sha256.

    For example:

        model import weights-best.pt -o wang2023.safetensors
    """
    from datarobust.jobs.make import make
    from datarobust.jobs.model import read_published

    job = read_published(published, arch=arch, raw=raw, normalise=normalise, weights=weights)
    _cli.say(*job.remarks)
    make(job, output, _cli.step("model", None, None), overwrite=overwrite)
    _cli.emit(str(output))


@app.command()
def export(
    model: Annotated[Path, argument("M.safetensors", "A classifier; - takes its path from stdin.")],
    output: _cli.Output,
    evaluation: Annotated[Path | None, option("E.zarr", "Of this classifier, by aaeval: accuracies, log.")] = None,
    paper: Annotated[str, option("TEXT", "Its title.")] = "",
    authors: Annotated[str, option("TEXT", _TEXT)] = "",
    venue: Annotated[str, option("TEXT", _TEXT)] = "",
    link: Annotated[str, option("URL", _TEXT)] = "",
    dataset: Annotated[str | None, option("NAME", "cifar10 or cifar100.")] = None,
    reported: Annotated[str | None, option("X", "The accuracy the paper states.")] = None,
    additional_data: Annotated[bool, flag("--additional-data", "It was trained on more real data.")] = False,
    footnote: Annotated[str, option("TEXT", "Such as generated data.")] = "",
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    """Write a classifier in RobustBench's form: a folder with its weights, model_info.json, images and log.

    weights.pt has the state dict without prefixes, for the class that RobustBench lists (DMWideResNet for wide residual
    networks). From --evaluation come the accuracies in model_info.json, log.txt, and adversarial.pt: the images in the
    order of the test set, where aaeval ran with --adversarial.

    For example:

        model export run/last.safetensors --evaluation last.zarr -o submission
    """
    from datarobust import artifacts
    from datarobust.jobs.model import Entry
    from datarobust.jobs.model import export as write

    entry = Entry(paper, authors, venue, link, dataset, reported, additional_data, footnote)
    weights = artifacts.load_tensors(_cli.argument_path(model), "classifier")
    store = None if evaluation is None else _cli.opened(evaluation, "evaluation")
    _cli.say(*write(output, weights, entry, store, overwrite=overwrite))
    _cli.emit(str(output))


@app.command()
def info(
    model: Annotated[Path, argument("M", "An artifact, or a checkpoint as it was published.")],
    normalise: Normalise = None,
    as_json: _cli.Json = False,
) -> None:
    """Show what a model is: architecture, parameters, which weights, where it came from.

    For example:

        model info run/best.safetensors --json
    """
    from datarobust.jobs.model import summary

    content = summary(_cli.argument_path(model), normalise)
    if as_json:
        _cli.emit(json.dumps(content))
        return
    for key, value in content.items():
        _cli.emit(f"{key}: {_cli.escape(value if isinstance(value, str) else json.dumps(value))}")


main = _cli.main(app, "model")

if __name__ == "__main__":
    main()
