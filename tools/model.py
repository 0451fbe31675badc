"""Models in and out: published checkpoints become artifacts, and artifacts what RobustBench takes.

    model import weights-best.pt -o wang2023.safetensors
    model import edm-cifar10-32x32-cond-vp.pkl -o edm.safetensors
    model import pt_inception-2015-12-05-6726825d.pth -o inception.safetensors
    model info wang2023.safetensors
    model export run/last.safetensors --evaluation last.zarr -o submission

Nothing in a checkpoint of others is ever run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from datarobust.errors import UsageError

from . import _cli

if TYPE_CHECKING:
    from datarobust.checkpoints.robustbench import Checkpoint

app = _cli.tool(__doc__)

Published = Annotated[Path, typer.Argument(metavar="PUBLISHED", help="A checkpoint as it was published.")]
Arch = Annotated[str | None, typer.Option("--arch", metavar="NAME", help="wrn-DEPTH-WIDTH or preact-resnet-18.")]
Raw = Annotated[bool, typer.Option("--raw", help="The weights before averaging, where there are both.")]
Normalise = Annotated[
    Literal["cifar10", "cifar100", "none"] | None,
    typer.Option("--normalise", help="Of images, within the network; as Wang et al. do it if not given."),
]
Weights = Annotated[
    Literal["best", "last"] | None,
    typer.Option("--weights", help="Which of a training they are; last where the file's name says so, else best."),
]
Classifier = Annotated[Path, typer.Argument(metavar="M.safetensors", help="A classifier; - takes its path from stdin.")]
Evaluation = Annotated[
    Path | None, typer.Option("--evaluation", metavar="E.zarr", help="Of this classifier, by aaeval: accuracies, log.")
]
_TEXT = "As model_info has it."


@app.command("import")
def import_(
    published: Published,
    output: _cli.Output,
    arch: Arch = None,
    raw: Raw = False,
    normalise: Normalise = None,
    weights: Weights = None,
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
    if _is_pickle(published):
        _import_denoiser(published, output, overwrite)
        return
    from datarobust.checkpoints.inception import is_inception

    if is_inception(published):
        _import_inception(published, output, overwrite)
        return
    from datarobust.checkpoints.robustbench import read_checkpoint

    found = read_checkpoint(published, arch=arch, raw=raw, normalisation=normalise)
    which = weights or ("last" if "last" in published.stem else "best")
    _tell(found)
    asked = {"arch": found.arch, "weights": which, "averaged": found.averaged, "source": found.sha256}
    _keep("classifier", found.arrays, asked, output, overwrite, epoch=found.epoch)


def _is_pickle(path: Path) -> bool:
    """Whether a file is a bare pickle, as EDM's are; those of torch.save are archives, or begin with its own number."""
    from datarobust.datasets.sources import raw_file

    with raw_file(path).open() as file:
        start = file.read(16)
    return start.startswith(b"\x80") and start[2:10] != b"\x8a\nl\xfc\x9cF\xf9 "


def _import_denoiser(published: Path, output: Path, overwrite: bool) -> None:
    from datarobust.checkpoints.edm import read_edm_pickle

    found = read_edm_pickle(published)
    for name in found.ignored:
        _cli.say(f"{name} is passed over: the averaged network is what samples.")
    asked = {"arch": found.arch, "weights": "last", "source": found.sha256}
    _keep("denoiser", found.arrays, asked, output, overwrite)


def _import_inception(published: Path, output: Path, overwrite: bool) -> None:
    from datarobust.checkpoints.inception import ARCH, load_inception

    network, sha256 = load_inception(published)
    arrays = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    _keep("classifier", arrays, {"arch": {"name": ARCH}, "weights": "last", "source": sha256}, output, overwrite)


def _keep(
    kind: str, arrays: Mapping[str, Any], asked: dict[str, Any], output: Path, overwrite: bool, **more: Any
) -> None:
    """Write the artifact, unless this very one is there. ``asked`` names it, with the sha256 of its source."""
    from datarobust import artifacts

    request = artifacts.fingerprint({"tool": "model import", **asked})
    if overwrite or not artifacts.finished(output, request):
        artifacts.save_tensors(
            output,
            kind,
            arrays,
            attributes={**asked, **more, "request": request},
            history=[_cli.step("model", None, None, {"source": asked["source"]})],
            overwrite=overwrite,
        )
    _cli.emit(str(output))


def _tell(found: Checkpoint) -> None:
    """What was taken, and what was not."""
    _cli.say(
        f"{found.arch['name']}, {found.arch['arguments']['classes']} classes, normalised as {found.normalisation}."
    )
    if found.averaged is not None:
        _cli.say(f"The {'averaged' if found.averaged else 'raw'} weights are taken.")
    if found.ignored:
        _cli.say(f"Passed over: {', '.join(found.ignored)}.")


@app.command()
def export(
    model: Classifier,
    output: _cli.Output,
    evaluation: Evaluation = None,
    paper: Annotated[str, typer.Option("--paper", metavar="TEXT", help="Its title.")] = "",
    authors: Annotated[str, typer.Option("--authors", metavar="TEXT", help=_TEXT)] = "",
    venue: Annotated[str, typer.Option("--venue", metavar="TEXT", help=_TEXT)] = "",
    link: Annotated[str, typer.Option("--link", metavar="URL", help=_TEXT)] = "",
    dataset: Annotated[str | None, typer.Option("--dataset", metavar="NAME", help="cifar10 or cifar100.")] = None,
    reported: Annotated[
        str | None, typer.Option("--reported", metavar="X", help="The accuracy the paper states.")
    ] = None,
    additional_data: Annotated[
        bool, typer.Option("--additional-data", help="It was trained on more real data.")
    ] = False,
    footnote: Annotated[str, typer.Option("--footnote", metavar="TEXT", help="Such as generated data.")] = "",
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
    options = dict(locals())
    from datarobust import artifacts
    from datarobust.checkpoints.robustbench import Entry
    from datarobust.checkpoints.robustbench import export as write

    entry = Entry(**{field.name: options[field.name] for field in fields(Entry)})
    weights = artifacts.load_tensors(_cli.argument_path(model), "classifier")
    verdicts = None if evaluation is None else artifacts.open_store(_cli.argument_path(evaluation), "evaluation")
    for sentence in write(output, weights, entry, verdicts, overwrite=overwrite):
        _cli.say(sentence)
    _cli.emit(str(output))


@app.command()
def info(
    model: Annotated[Path, typer.Argument(metavar="M", help="An artifact, or a checkpoint as it was published.")],
    normalise: Normalise = None,
    as_json: _cli.Json = False,
) -> None:
    """Show what a model is: architecture, parameters, which weights, where it came from.

    For example:

        model info run/best.safetensors --json
    """
    path = _cli.argument_path(model)
    if normalise is not None and path.suffix == ".safetensors":
        raise UsageError(f"{path} is an artifact, which says itself how its network normalises: leave --normalise out.")
    summary = _artifact(path) if path.suffix == ".safetensors" else _checkpoint(path, normalise)
    if as_json:
        _cli.emit(json.dumps(summary))
        return
    for key, value in summary.items():
        _cli.emit(f"{key}: {_cli.escape(value if isinstance(value, str) else json.dumps(value))}")


def _artifact(path: Path) -> dict[str, Any]:
    from datarobust import artifacts

    found = artifacts.load_tensors(path)
    attributes = {key: found.attributes[key] for key in ("arch", "weights", "epoch") if key in found.attributes}
    return {
        "kind": found.kind,
        **attributes,
        "tensors": len(found),
        "numbers": sum(array.size for array in found.values()),
        "digest": found.digest,
        "history": [step.tool for step in found.history],
    }


def _checkpoint(path: Path, normalise: str | None) -> dict[str, Any]:
    if _is_pickle(path):
        raise UsageError(f"{path} is a bare pickle: make an artifact of it with model import first.")
    from datarobust.checkpoints.robustbench import read_checkpoint

    found = read_checkpoint(path, normalisation=normalise)
    return {
        "kind": "published classifier",
        "arch": found.arch,
        "normalisation": found.normalisation,
        "averaged": found.averaged,
        "epoch": found.epoch,
        "tensors": len(found.arrays),
        "numbers": sum(array.size for array in found.arrays.values()),
        "sha256": found.sha256,
        "ignored": list(found.ignored),
    }


def main() -> None:
    """Run the command."""
    _cli.run(app, "model")


if __name__ == "__main__":
    main()
