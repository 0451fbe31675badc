"""Fetch, import and export published checkpoints.

    model fetch inception -o inception.safetensors
    model import edm-cifar10-32x32-cond-vp.pkl -o edm.safetensors
    model export run/last.safetensors --evaluation last.zarr -o submission

Nothing in a checkpoint of others is ever run.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Literal

from datarobust.errors import UsageError

from . import _cli
from ._cli import argument, choice, flag, option

app = _cli.tool(__doc__)

_TEXT = "Written to model_info.json."


@app.command("import")
def import_(
    published: Annotated[Path, argument("PUBLISHED", "Published checkpoint.")],
    output: _cli.Output,
    arch: Annotated[str | None, option("NAME", "Architecture: wrn-DEPTH-WIDTH or preact-resnet-18.")] = None,
    raw: Annotated[bool, flag("--raw", "Use the weights before averaging, if the file has both.")] = False,
    normalise: _cli.Normalise = None,
    weights: Annotated[
        Literal["best", "last"] | None, choice("Kind of weights; default last if the file's name says so, else best.")
    ] = None,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
) -> None:
    """Make an artifact of a published checkpoint, without running anything in it.

    Classifiers: files of torch.save with the state dict of a wide residual network with SiLU or of a pre-activation
    ResNet-18: checkpoints of Wang et al. 2023 (names begin with module.0.; averaged weights, or with --raw those
    before averaging) and of RobustBench (names without prefix). Architecture (or --arch) and classes follow from names
    and shapes, every one of which must fit. Such files do not contain the normalisation: without --normalise, wide
    residual networks for 10 and 100 classes get that of CIFAR-10 and CIFAR-100.

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
def fetch(
    known: Annotated[
        str | None, argument("NAME", "Name of a network, such as inception; see --list.", show_default=False)
    ] = None,
    output: _cli.OptionalOutput = None,
    sha256: Annotated[str | None, option("HEX", "Expected sha256 of the file, if none is published.")] = None,
    unverified: Annotated[
        bool, flag("--unverified", "Accept a file without a known sha256, and report its sha256.")
    ] = False,
    cache: _cli.Cache = None,
    listing: _cli.Listing = False,
    overwrite: _cli.Overwrite = False,
    quiet: _cli.Quiet = False,
    as_json: _cli.Json = False,
) -> None:
    """Download a published network, verify it, and make an artifact of it.

    Known are Inception (for the FID), the denoisers of EDM, and the classifiers of Wang et al. 2023, Gowal et al. 2020
    and Rebuffi et al. 2021, which RobustBench lists. The licence of each is shown; EDM's forbids commercial use.

    Files come over https and are kept in DIR/models. Their sha256 is compared with the published one. Only Inception
    has a published one. For the others state one that you trust (--sha256), or use --unverified: the command then
    reports the sha256 of the file that came. Interrupted downloads resume; unverified ones start again. Proxies and
    certificates are those of the environment (https_proxy, SSL_CERT_FILE). Without a network put the file into
    DIR/models yourself.

    For example:

        model fetch --list
        model fetch inception -o inception.safetensors
        model fetch edm-cifar10-32x32-cond-vp --unverified -o edm.safetensors
    """
    from datarobust.checkpoints.published import NETWORKS, fetch_network, find_network
    from datarobust.datasets.fetch import https
    from datarobust.datasets.files import file_sha256
    from datarobust.jobs.make import make
    from datarobust.jobs.model import read_published

    if listing:
        if known is not None or output is not None:
            raise UsageError("--list is used alone, or with --json.")
        listed = [
            {"name": each.name, "licence": each.licence, "title": each.title, "urls": each.remote.urls,
             "bytes": each.remote.size or None, "sha256": each.remote.sha256 or None}
            for each in NETWORKS.values()
        ]  # fmt: skip
        if as_json:
            _cli.emit(json.dumps({"networks": listed}))
        for each in () if as_json else listed:
            _cli.emit(f"{each['name']}\t{each['licence']}\t{each['title']}")
        return
    if known is None or output is None:
        raise UsageError("Give a NAME and -o PATH, or --list.")
    if as_json:
        raise UsageError("--json needs --list.")
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise UsageError(f"--sha256 {sha256} is not 64 hexadecimal digits.")
    network = find_network(known)
    digest = None if sha256 is None else sha256.lower()
    _cli.say(f"{network.name}: {network.title}; licence {network.licence}.")
    _cli.resumable()
    progress = _cli.progress("fetching, MiB")
    path = fetch_network(network, cache or _cli.default_cache(), https(), digest, unverified, progress)
    if unverified:
        _cli.say(f"{path.name} has the sha256 {file_sha256(path)}, which was not compared with anything.")
    job = read_published(path)
    _cli.say(*job.remarks)
    make(job, output, _cli.step("model", None, None), overwrite=overwrite)
    _cli.emit(str(output))


@app.command()
def export(
    model: Annotated[Path, argument("M.safetensors", "Classifier artifact; - takes its path from stdin.")],
    output: _cli.Output,
    evaluation: Annotated[Path | None, option("E.zarr", "Result of aaeval for this classifier.")] = None,
    paper: Annotated[str, option("TEXT", "Title of the paper.")] = "",
    authors: Annotated[str, option("TEXT", _TEXT)] = "",
    venue: Annotated[str, option("TEXT", _TEXT)] = "",
    link: Annotated[str, option("URL", _TEXT)] = "",
    dataset: Annotated[str | None, option("NAME", "Data set: cifar10 or cifar100.")] = None,
    reported: Annotated[str | None, option("X", "Accuracy that the paper states.")] = None,
    additional_data: Annotated[
        bool, flag("--additional-data", "The classifier was trained on additional real data.")
    ] = False,
    footnote: Annotated[str, option("TEXT", "Footnote, such as the use of generated data.")] = "",
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
    model: Annotated[Path, argument("M", "Artifact or published checkpoint.")],
    normalise: _cli.Normalise = None,
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
