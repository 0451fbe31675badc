"""Models in and out: published checkpoints become artifacts, and artifacts what RobustBench takes.

RobustBench (Croce et al. 2021) loads a state dict without prefixes, strictly, into a class that it lists; the wide
residual networks here are its ``DMWideResNet``. Accuracies come from an evaluation of all points, in their order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from datarobust import artifacts
from datarobust.artifacts import Store, Tensors, durable
from datarobust.checkpoints import edm, torchfiles
from datarobust.checkpoints.models import demand_classifier, normalisation_of
from datarobust.datasets.files import raw_file
from datarobust.errors import DataError, UsageError
from datarobust.evaluation.statistics import VERDICTS
from datarobust.evaluation.statistics import summary as evaluation_summary
from datarobust.jobs.make import Artifact, Form, Output
from datarobust.text import shown
from datarobust.types import Array


@dataclass(frozen=True)
class Import:
    """A published checkpoint that becomes an artifact."""

    kind: Literal["classifier", "denoiser"]
    arrays: Mapping[str, Array]
    decides: Mapping[str, Any]  # attributes that decide the artifact: arch, weights, source (sha256), averaged
    about: Mapping[str, Any] = field(default_factory=dict)  # more attributes
    remarks: tuple[str, ...] = ()  # what was taken of the file, and what was not

    @property
    def form(self) -> Form:
        """An artifact of its kind."""
        return Artifact(self.kind)

    def request(self) -> dict[str, Any]:
        """All that decides the bits."""
        return {"tool": "model import", **self.decides}

    def run(self, output: Output) -> None:
        """Write the artifact."""
        artifacts.save_tensors(
            output.path,
            self.kind,
            self.arrays,
            attributes={**self.decides, **self.about, "request": output.request},
            history=[output.step({"source": self.decides["source"]})],
            overwrite=output.overwrite,
        )


def read_published(
    path: Path, *, arch: str | None = None, raw: bool = False, normalise: str | None = None, weights: str | None = None
) -> Import:
    """A denoiser of EDM, Inception, or a classifier, by what the file is.

    ``arch``, ``raw`` and ``normalise`` are those of `torchfiles.read_checkpoint`; ``weights`` says which of a
    classifier's training they are: last where the file's name says so, else best.
    """
    if is_bare_pickle(path):
        denoiser = edm.read_edm_pickle(path)
        remarks = tuple(f"{name} is left out: the averaged network makes the samples." for name in denoiser.ignored)
        if path.name.startswith("edm-"):  # as NVIDIA and Wang et al. call them
            remarks += ("Published denoisers of EDM have the licence CC BY-NC-SA 4.0: not for commercial use.",)
        decides: dict[str, Any] = {"arch": denoiser.arch, "weights": "last", "source": denoiser.sha256}
        return Import("denoiser", denoiser.arrays, decides, remarks=remarks)
    if torchfiles.is_inception(path):
        network, sha256 = torchfiles.load_inception(path)
        arrays = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
        decides = {"arch": {"name": torchfiles.INCEPTION}, "weights": "last", "source": sha256}
        return Import("classifier", arrays, decides)
    checkpoint = torchfiles.read_checkpoint(path, arch=arch, raw=raw, normalisation=normalise)
    classes = checkpoint.arch["arguments"]["classes"]
    remarks = (f"{checkpoint.arch['name']}, {classes} classes, normalised as {checkpoint.normalisation}.",)
    if checkpoint.averaged is not None:
        remarks += (f"The {'averaged' if checkpoint.averaged else 'raw'} weights are taken.",)
    if checkpoint.ignored:
        remarks += (f"Passed over: {', '.join(checkpoint.ignored)}.",)
    decides = {
        "arch": checkpoint.arch,
        "weights": weights or ("last" if "last" in path.stem else "best"),
        "averaged": checkpoint.averaged,
        "source": checkpoint.sha256,
    }
    return Import("classifier", checkpoint.arrays, decides, {"epoch": checkpoint.epoch}, remarks)


def is_bare_pickle(path: Path) -> bool:
    """Whether a file is a pickle as EDM's are; those of torch.save are archives, or begin with its own number."""
    with raw_file(path).open() as file:
        start = file.read(len(edm.LEGACY))
    return start.startswith(b"\x80") and start[2:] != edm.LEGACY[2:]


def summary(path: Path, normalise: str | None = None) -> dict[str, Any]:
    """What a model is, of an artifact or of a published classifier, as JSON has it."""
    if path.suffix == ".safetensors":
        if normalise is not None:
            raise UsageError(f"{path} is an artifact, which says itself how it normalises: leave out `normalise`.")
        artifact = artifacts.load_tensors(path)
        return {
            "kind": artifact.kind,
            **{key: artifact.attributes[key] for key in ("arch", "weights", "epoch") if key in artifact.attributes},
            "tensors": len(artifact),
            "numbers": sum(array.size for array in artifact.values()),
            "digest": artifact.digest,
            "history": [step.tool for step in artifact.history],
        }
    if is_bare_pickle(path):
        raise UsageError(f"{path} is a bare pickle: make an artifact of it with model import first.")
    checkpoint = torchfiles.read_checkpoint(path, normalisation=normalise)
    return {
        "kind": "published classifier",
        "arch": checkpoint.arch,
        "normalisation": checkpoint.normalisation,
        "averaged": checkpoint.averaged,
        "epoch": checkpoint.epoch,
        "tensors": len(checkpoint.arrays),
        "numbers": sum(array.size for array in checkpoint.arrays.values()),
        "sha256": checkpoint.sha256,
        "ignored": list(checkpoint.ignored),
    }


FILES = ("weights.pt", "model_info.json", "adversarial.pt", "log.txt")
_CLASSES = {10: "cifar10", 100: "cifar100"}


@dataclass(frozen=True)
class Entry:
    """What RobustBench's list of models tells of a model besides its accuracies."""

    paper: str = ""  # its title
    authors: str = ""
    venue: str = ""
    link: str = ""
    dataset: str | None = None
    reported: str | None = None  # the accuracy that the paper states; the evaluation's if not given
    additional_data: bool = False
    footnote: str = ""


def export(
    output: Path, model: Tensors, entry: Entry, evaluation: Store | None, *, overwrite: bool = False
) -> list[str]:
    """Write the folder of :data:`FILES`, whole or not at all; those of an evaluation where there is one.

    A folder that has these very files already stays as it is.

    Returned is what is still missing for a submission, and what the files cannot say, a sentence each. Raises DataError
    where the evaluation is not of this classifier, not of all points in their order, or not AutoAttack.
    """
    demand_classifier(model.attributes["arch"], model, shown(model.path))
    result = None if evaluation is None else _citable(model, evaluation)
    info, missing = _model_info(model, entry, result), []
    if evaluation is None:
        missing.append("There is no evaluation: accuracies, log and adversarial images are missing.")
    elif "adversarial" not in evaluation:
        missing.append("The evaluation kept no images: repeat it with aaeval `adversarial`.")

    def write(folder: Path) -> None:
        folder.mkdir()
        # A safetensors file is read in random order.
        _save({name: torch.from_numpy(np.array(array)) for name, array in sorted(model.items())}, folder / FILES[0])
        (folder / FILES[1]).write_text(json.dumps(info, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        if evaluation is not None and "adversarial" in evaluation:
            _save(torch.from_numpy(evaluation.column("adversarial").read()).float(), folder / FILES[2])
        if result is not None:
            (folder / FILES[3]).write_text("\n".join(_log(result)) + "\n", encoding="utf-8")

    if overwrite or not _is_export(output) or not durable.holds(output, write):
        with durable.whole_or_absent(output, overwrite=overwrite, may_replace=_is_export) as folder:
            write(folder)
    arch = model.attributes["arch"]
    arguments = arch.get("arguments", {})
    key = _CLASSES.get(arguments.get("classes"), "none") if str(arch["name"]).startswith("wrn") else "none"
    assumed = normalisation_of(key)  # by the class that RobustBench reads the weights into
    own = (tuple(arguments["mean"]), tuple(arguments["std"])) if "mean" in arguments else None
    if own != (None if assumed is None else (tuple(assumed[0]), tuple(assumed[1]))):
        how = "does not normalise" if own is None else f"uses mean {list(own[0])} and standard deviation {list(own[1])}"
        what = f"{FILES[0]} does not contain the normalisation, and this network {how}"
        missing.append(f"{what}: tell users, who pass it to model import with `normalise`.")
    missing += [f"model_info.json has no {name}." for name in ("name", "authors", "venue", "link") if not info[name]]
    return missing


def _save(content: object, path: Path) -> None:
    """``torch.save``; an OSError or a signal within is raised as what it is, not as the RuntimeError that follows."""
    with path.open("xb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError | KeyboardInterrupt):
                raise error.__context__ from None
            raise


def _model_info(model: Tensors, entry: Entry, result: Mapping[str, Any] | None) -> dict[str, Any]:
    """The contents of model_info.json; accuracies in percent, as texts."""
    arch = model.attributes["arch"]
    info: dict[str, Any] = {
        "link": entry.link,
        "name": entry.paper,
        "authors": entry.authors,
        "additional_data": entry.additional_data,
        "number_forward_passes": 1,
        "dataset": entry.dataset or _CLASSES.get(arch.get("arguments", {}).get("classes", 10), ""),
        "venue": entry.venue,
        "architecture": str(arch["name"]).replace("wrn", "WideResNet").replace("preact-resnet", "PreActResNet"),
    }
    if result is not None:
        accuracy = f"{100 * result['autoattack']:.2f}"
        info |= {
            "eps": result["eps"],
            "clean_acc": f"{100 * result['clean']:.2f}",
            "reported": entry.reported or accuracy,
            "autoattack_acc": accuracy,
        }
    info |= {"footnote": entry.footnote} if entry.footnote else {}
    return info | {"unreliable": result is not None and bool(result["flags"])}


def _log(result: Mapping[str, Any]) -> list[str]:
    """An evaluation in the form of AutoAttack's log: accuracies before and after each attack."""
    names = [attack["attack"] for attack in result["attacks"]]
    lines = [f"using {result['version']} version including {', '.join(names)}."]
    lines.append(f"initial accuracy: {result['clean']:.2%}")
    for attack in result["attacks"]:
        lines.append(f"{attack['attack']} - {attack['broken']} out of {attack['attacked']} successfully perturbed")
        lines.append(f"robust accuracy after {attack['attack'].upper()}: {attack['accuracy']:.2%}")
    libraries = ", ".join(f"{name} {number}" for name, number in result["libraries"].items())
    radius = f"norm {result['norm']}, eps {result['eps']} = {result['eps_value']:.6f}"
    lines += [f"robust accuracy: {result['autoattack']:.2%}", f"{radius}, seed {result['seed']}, {libraries}"]
    return lines


def _citable(model: Tensors, evaluation: Store) -> dict[str, Any]:
    """The evaluation as a line, having seen that it may be cited for the classifier."""
    where = shown(evaluation.path)
    columns = {name: evaluation.column(name).read() for name in VERDICTS}
    protocol = evaluation.attributes["protocol"]
    if evaluation.attributes["model"] != model.digest:
        raise DataError(f"{where} is an evaluation of another model than {shown(model.path)}.")
    if protocol["upper_bound"]:
        advice = "RobustBench takes AutoAttack, that is aaeval `attacks` standard"
        raise DataError(f"{where} is an upper bound (attacks: {protocol['version']}): {advice}.")
    if not np.array_equal(columns["index"], np.arange(len(columns["index"]))):
        raise DataError(f"{where} is not of the first points of its dataset in their order: evaluate without `select`.")
    result = evaluation_summary(columns, evaluation.attributes)
    if result["points"] < (total := result["dataset_points"] or result["points"]):
        part = f"{result['points']:,} of {total:,} points"
        raise DataError(f"{where} is of {part}, but RobustBench takes accuracies of all: evaluate without `select`.")
    return result


def _is_export(path: Path) -> bool:
    """Whether a folder holds an export and nothing else."""
    return path.is_dir() and {entry.name for entry in path.iterdir()} <= set(FILES) and (path / FILES[0]).is_file()
