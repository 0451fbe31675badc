"""Classifiers in the form of RobustBench and of Wang et al. 2023: read from their files, and written for RobustBench.

Read are files of ``torch.save`` with the state dict of a network that this project has: the checkpoints of Wang et al.,
whose names begin with ``module.0.`` and which hold averaged and raw weights, and those of RobustBench, whose names have
no prefix. PyTorch reads them with ``weights_only``: what asks for anything but tensors is refused, and nothing of it is
run.

RobustBench (Croce et al. 2021) loads a state dict without prefixes, strictly, into a class that it lists; the wide
residual networks here are its ``DMWideResNet``. What is written for it is a folder: weights for its class, model_info,
adversarial images in test order, a log. Accuracies come from an evaluation of all points, in their order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from datarobust.artifacts import Store, Tensors, durable
from datarobust.checkpoints.models import assemble_classifier
from datarobust.checkpoints.torchfiles import MOST_BYTES, read_weights
from datarobust.datasets.sources import file_sha256
from datarobust.errors import ArtifactError, DataError, UsageError
from datarobust.evaluation.statistics import VERDICTS, summary
from datarobust.text import shown
from datarobust.training.images import PUBLISHED
from datarobust.types import Array

AVERAGED, RAW = "model_state_dict", "unaveraged_model_state_dict"
"""Keys of Wang et al. 2023."""
_HOLDERS: Final = (AVERAGED, "state_dict", "model", "net")
"""Keys under which a checkpoint may have its state dict."""
_PREFIXES: Final = ("module.", "0.", "model.", "_orig_mod.")
"""What wrappers put in front of every name."""
NORMALISATIONS: Final = {"cifar10": PUBLISHED[0], "cifar100": PUBLISHED[1], "none": None}


@dataclass(frozen=True)
class Checkpoint:
    """What a published file holds.

    Attributes:
        arch: name and arguments, as artifacts have them.
        arrays: the state dict, without prefixes.
        averaged: whether these are averaged weights; None where the file does not say.
        epoch: after which they were saved, where it says.
        sha256: of the file.
        ignored: names of what else it holds.
        normalisation: as it was taken: cifar10, cifar100 or none.
    """

    arch: dict[str, Any]
    arrays: dict[str, Array]
    averaged: bool | None
    epoch: int | None
    sha256: str
    ignored: tuple[str, ...]
    normalisation: str


def read_checkpoint(
    path: Path, *, arch: str | None = None, raw: bool = False, normalisation: str | None = None
) -> Checkpoint:
    """Read a published classifier without running anything in it.

    Args:
        path: the file.
        arch: name of the network, where its tensors are not to tell.
        raw: the weights before averaging, where there are both.
        normalisation: of images within the network: cifar10, cifar100 or none. Without it the one that wide residual
            networks of Wang et al. have for as many classes.

    Raises:
        DataError: it is no such file, is damaged, or has other names or shapes than its network.
        UsageError: normalisation or network cannot be told from the file.
    """
    where = shown(path)
    content = read_weights(path)
    state, averaged, ignored = _state(content, raw, where)
    arrays = _arrays(state, where)
    architecture, normalised = _arch(arrays, arch, normalisation, where)
    try:
        assemble_classifier(architecture, arrays, where)
    except ArtifactError as error:
        raise DataError(f"{error}: name another network with `arch`, or get the file again.") from error
    epoch = content.get("epoch")
    return Checkpoint(
        architecture,
        arrays,
        averaged,
        epoch if type(epoch) is int else None,
        file_sha256(path),
        ignored,
        normalised,
    )


def _state(content: Mapping[str, Any], raw: bool, where: str) -> tuple[Mapping[str, Any], bool | None, tuple[str, ...]]:
    """The state dict, whether it is averaged, and the names of what is passed over."""
    if raw and RAW not in content:
        raise UsageError(f"{where} has no weights before averaging ({RAW}): leave out `raw`.")
    key = RAW if raw else next((name for name in _HOLDERS if isinstance(content.get(name), Mapping)), None)
    if key is None:
        return content, None, ()
    state = content[key]
    if not isinstance(state, Mapping) or not state:
        raise DataError(f"{where} has no weights under {key}.")
    return (
        state,
        (key == AVERAGED if RAW in content else None),
        tuple(sorted(str(name) for name in content if name != key)),
    )


def _arrays(state: Mapping[str, Any], where: str) -> dict[str, Array]:
    """Tensors by name without prefix: floating-point numbers as float32, whole ones as int64."""
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise DataError(f"{where} holds {shown(str(name))}, which is no tensor: it is no state dict.")
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
            raise DataError(f"{where} holds {shown(name)} in a form that is not read here: {tensor.layout}.")
    if 4 * sum(tensor.numel() for tensor in state.values()) > MOST_BYTES:  # one number may be a tensor of any size
        raise DataError(f"{where} holds more numbers than any network that is read here.")
    names = list(state)
    plain = names
    while prefix := next((each for each in _PREFIXES if all(name.startswith(each) for name in plain)), None):
        plain = [name.removeprefix(prefix) for name in plain]
    arrays = {}
    for name, old in zip(plain, names, strict=True):
        tensor = state[old].detach()
        array = tensor.float().numpy() if tensor.is_floating_point() else tensor.long().numpy()
        if not np.isfinite(array).all():
            raise DataError(f"{where} holds numbers in {shown(old)} that are not finite: get the file again.")
        arrays[name] = array
    return arrays


def _arch(
    arrays: dict[str, Array], name: str | None, normalisation: str | None, where: str
) -> tuple[dict[str, Any], str]:
    """The architecture that the tensors tell, and which normalisation it has."""
    shapes = {key: array.shape for key, array in arrays.items()}
    wide = "init_conv.weight" in shapes
    first, last = ("init_conv.weight", "logits.weight") if wide else ("conv1.weight", "linear.weight")
    if len(shapes.get(first, ())) != 4 or len(shapes.get(last, ())) != 2:
        some = ", ".join(shown(key) for key in list(shapes)[:3])
        raise DataError(
            f"{where} has the tensors {some} and others, which no network here has: evaluate it as module:factory."
        )
    detected = _wide_name(shapes) if wide else "preact-resnet-18"
    classes, channels = shapes[last][0], shapes[first][1]
    normalised = normalisation or {10: "cifar10", 100: "cifar100"}.get(classes if wide and channels == 3 else 0)
    if normalised is None:
        raise UsageError(
            f"{where} does not tell how its network normalises images: give `normalise` cifar10, cifar100 or none."
        )
    numbers = NORMALISATIONS[normalised]
    statistics = {} if numbers is None else {"mean": list(numbers[0]), "std": list(numbers[1])}
    return {"name": name or detected, "arguments": {"classes": classes, "channels": channels, **statistics}}, normalised


def _wide_name(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """``wrn-DEPTH-WIDTH``: blocks of the first group, and channels after it."""
    blocks = len({key.split(".")[3] for key in shapes if re.match(r"layer\.0\.block\.\d+\.", key)})
    channels = shapes.get("layer.0.block.0.conv_1.weight", (0,))[0]
    return f"wrn-{6 * blocks + 4}-{channels // 16}"


# ---------------------------------------------------------------------------------------------------- export

FILES = ("weights.pt", "model_info.json", "adversarial.pt", "log.txt")
_CLASSES = {10: "cifar10", 100: "cifar100"}


@dataclass(frozen=True)
class Entry:
    """What the list of models tells of a model besides its accuracies."""

    paper: str = ""
    """Its title."""
    authors: str = ""
    venue: str = ""
    link: str = ""
    dataset: str | None = None
    reported: str | None = None
    """The accuracy that the paper states; the evaluation's if not given."""
    additional_data: bool = False
    footnote: str = ""


def export(
    output: Path, model: Tensors, entry: Entry, evaluation: Store | None, *, overwrite: bool = False
) -> list[str]:
    """Write the folder of :data:`FILES`, whole or not at all; those of an evaluation where there is one.

    Returns:
        What is still missing for a submission, and what the files cannot say, a sentence each.

    Raises:
        DataError: the evaluation is not of this classifier, not of all points in their order, or not AutoAttack.
        ExistsError: the output exists, and is no such folder or ``overwrite`` is not given.
    """
    result = None if evaluation is None else _demand_fit(model, evaluation)
    missing = (
        [] if result is not None else ["There is no evaluation: accuracies, log and adversarial images are missing."]
    )
    with durable.whole_or_absent(output, overwrite=overwrite, may_replace=_is_export) as folder:
        folder.mkdir()
        state = {name: torch.from_numpy(np.array(array)) for name, array in model.items()}
        torch.save(state, folder / FILES[0])
        info = describe(model, entry, result)
        (folder / FILES[1]).write_text(json.dumps(info, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        if evaluation is not None and result is not None:
            if "adversarial" in evaluation:
                torch.save(torch.from_numpy(evaluation.column("adversarial").read()).float(), folder / FILES[2])
            else:
                missing.append("The evaluation kept no images: repeat it with aaeval `adversarial`.")
            (folder / FILES[3]).write_text("\n".join(log_of(result)) + "\n", encoding="utf-8")
    missing += _unsaid(model)
    missing += [f"model_info.json has no {name}." for name in ("name", "authors", "venue", "link") if not info[name]]
    return missing


def _unsaid(model: Tensors) -> list[str]:
    """What a reader of the weights has to be told: they hold no normalisation, and their class has one of its own."""
    arch = model.attributes["arch"]
    arguments = arch.get("arguments", {})
    assumed = (
        NORMALISATIONS[_CLASSES.get(arguments.get("classes"), "none")] if str(arch["name"]).startswith("wrn") else None
    )
    own = (tuple(arguments["mean"]), tuple(arguments["std"])) if "mean" in arguments else None
    if own == (None if assumed is None else (tuple(assumed[0]), tuple(assumed[1]))):
        return []
    how = "not at all" if own is None else f"by mean {list(own[0])} and deviation {list(own[1])}"
    return [
        f"{FILES[0]} cannot say how images are normalised, and this network does it {how}: "
        "whoever reads it needs to know, model import by `normalise`."
    ]


def describe(model: Tensors, entry: Entry, result: Mapping[str, Any] | None) -> dict[str, Any]:
    """The contents of model_info.json; accuracies in percent, as texts."""
    arch = model.attributes["arch"]
    classes = arch.get("arguments", {}).get("classes", 10)
    info: dict[str, Any] = {
        "link": entry.link,
        "name": entry.paper,
        "authors": entry.authors,
        "additional_data": entry.additional_data,
        "number_forward_passes": 1,
        "dataset": entry.dataset or _CLASSES.get(classes, ""),
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
    return info | {"unreliable": bool(result["flags"]) if result is not None else False}


def log_of(result: Mapping[str, Any]) -> list[str]:
    """An evaluation in the form of AutoAttack's log: accuracies before and after each attack."""
    names = [attack["attack"] for attack in result["attacks"]]
    lines = [f"using {result['version']} version including {', '.join(names)}."]
    lines.append(f"initial accuracy: {result['clean']:.2%}")
    for attack in result["attacks"]:
        lines.append(f"{attack['attack']} - {attack['broken']} out of {attack['attacked']} successfully perturbed")
        lines.append(f"robust accuracy after {attack['attack'].upper()}: {attack['accuracy']:.2%}")
    libraries = ", ".join(f"{name} {number}" for name, number in result["libraries"].items())
    lines.append(f"robust accuracy: {result['autoattack']:.2%}")
    lines.append(
        f"norm {result['norm']}, eps {result['eps']} = {result['eps_value']:.6f}, seed {result['seed']}, {libraries}"
    )
    return lines


def _demand_fit(model: Tensors, evaluation: Store) -> dict[str, Any]:
    """The evaluation as a line, having seen that it may be cited for the classifier."""
    where = shown(evaluation.path)
    columns = {name: evaluation.column(name).read() for name in VERDICTS}
    protocol = evaluation.attributes["protocol"]
    if evaluation.attributes["model"] != model.digest:
        raise DataError(f"{where} is an evaluation of another model than {shown(model.path)}.")
    if protocol["upper_bound"]:
        raise DataError(
            f"{where} is an upper bound (attacks: {protocol['version']}): RobustBench takes AutoAttack, that is aaeval "
            "`attacks` standard."
        )
    if not np.array_equal(columns["index"], np.arange(len(columns["index"]))):
        raise DataError(f"{where} is not of the first points of its dataset in their order: evaluate without `select`.")
    result = summary(columns, evaluation.attributes)
    if result["points"] < (total := result.get("dataset_points", result["points"])):
        raise DataError(
            f"{where} is of {result['points']:,} of {total:,} points: RobustBench takes accuracies of all, so evaluate "
            "without `select`."
        )
    return result


def _is_export(path: Path) -> bool:
    """Whether a folder holds an export and nothing else."""
    return path.is_dir() and {entry.name for entry in path.iterdir()} <= set(FILES) and (path / FILES[0]).is_file()
