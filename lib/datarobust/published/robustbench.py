"""A classifier as RobustBench takes it: weights for its class, model_info, adversarial images in test order, a log.

RobustBench (Croce et al. 2021) loads a state dict without prefixes, strictly, into a class that it lists; the wide
residual networks here are its ``DMWideResNet``. Accuracies are told from an evaluation of all points, in their order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datarobust.artifacts import Store, Tensors, durable
from datarobust.errors import DataError
from datarobust.evaluation import eps_text
from datarobust.evaluations.lines import line, stored
from datarobust.published.classifiers import NORMALISATIONS
from datarobust.text import shown

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
    found = None if evaluation is None else _demand_fit(model, evaluation)
    missing = (
        [] if found is not None else ["There is no evaluation: accuracies, log and adversarial images are missing."]
    )
    with durable.whole_or_absent(output, overwrite=overwrite, may_replace=_is_export) as folder:
        folder.mkdir()
        state = {name: torch.from_numpy(np.array(array)) for name, array in model.items()}
        torch.save(state, folder / FILES[0])
        described = describe(model, entry, found)
        (folder / FILES[1]).write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        if evaluation is not None and found is not None:
            if "adversarial" in evaluation:
                torch.save(torch.from_numpy(evaluation.column("adversarial").read()).float(), folder / FILES[2])
            else:
                missing.append("The evaluation kept no images: repeat it with aaeval `adversarial`.")
            (folder / FILES[3]).write_text("\n".join(log_of(found)) + "\n", encoding="utf-8")
    missing += _unsaid(model)
    missing += [
        f"model_info.json has no {name}." for name in ("name", "authors", "venue", "link") if not described[name]
    ]
    return missing


def _unsaid(model: Tensors) -> list[str]:
    """What a reader of the weights has to be told: they hold no normalisation, and their class has one of its own."""
    arch = model.attributes["arch"]
    given = arch.get("arguments", {})
    taken = NORMALISATIONS[_CLASSES.get(given.get("classes"), "none")] if str(arch["name"]).startswith("wrn") else None
    own = (tuple(given["mean"]), tuple(given["std"])) if "mean" in given else None
    if own == (None if taken is None else (tuple(taken[0]), tuple(taken[1]))):
        return []
    how = "not at all" if own is None else f"by mean {list(own[0])} and deviation {list(own[1])}"
    return [
        f"{FILES[0]} cannot say how images are normalised, and this network does it {how}: "
        "whoever reads it needs to know, model import by `normalise`."
    ]


def describe(model: Tensors, entry: Entry, found: Mapping[str, Any] | None) -> dict[str, Any]:
    """The contents of model_info.json; accuracies in percent, as texts."""
    arch = model.attributes["arch"]
    classes = arch.get("arguments", {}).get("classes", 10)
    told: dict[str, Any] = {
        "link": entry.link,
        "name": entry.paper,
        "authors": entry.authors,
        "additional_data": entry.additional_data,
        "number_forward_passes": 1,
        "dataset": entry.dataset or _CLASSES.get(classes, ""),
        "venue": entry.venue,
        "architecture": str(arch["name"]).replace("wrn", "WideResNet").replace("preact-resnet", "PreActResNet"),
    }
    if found is not None:
        accuracy = f"{100 * found['autoattack']:.2f}"
        told |= {
            "eps": found["eps"],
            "clean_acc": f"{100 * found['clean']:.2f}",
            "reported": entry.reported or accuracy,
            "autoattack_acc": accuracy,
        }
    told |= {"footnote": entry.footnote} if entry.footnote else {}
    return told | {"unreliable": bool(found["flags"]) if found is not None else False}


def log_of(found: Mapping[str, Any]) -> list[str]:
    """An evaluation in the form of AutoAttack's log: accuracies before and after each attack."""
    names = [attack["attack"] for attack in found["attacks"]]
    lines = [f"using {found['version']} version including {', '.join(names)}."]
    lines.append(f"initial accuracy: {found['clean']:.2%}")
    for attack in found["attacks"]:
        lines.append(f"{attack['attack']} - {attack['broken']} out of {attack['attacked']} successfully perturbed")
        lines.append(f"robust accuracy after {attack['attack'].upper()}: {attack['accuracy']:.2%}")
    libraries = ", ".join(f"{name} {number}" for name, number in found["libraries"].items())
    lines.append(f"robust accuracy: {found['autoattack']:.2%}")
    lines.append(
        f"norm {found['norm']}, eps {found['eps']} = {found['eps_value']:.6f}, seed {found['seed']}, {libraries}"
    )
    return lines


def _demand_fit(model: Tensors, evaluation: Store) -> dict[str, Any]:
    """The evaluation as a line, having seen that it may be cited for the classifier."""
    where = shown(evaluation.path)
    columns, protocol = stored(evaluation), evaluation.attributes["protocol"]
    if evaluation.attributes["model"] != model.digest:
        raise DataError(f"{where} is an evaluation of another model than {shown(model.path)}.")
    if protocol["upper_bound"]:
        raise DataError(
            f"{where} is an upper bound (attacks: {protocol['version']}): RobustBench takes AutoAttack, that is aaeval "
            "`attacks` standard."
        )
    if not np.array_equal(columns["index"], np.arange(len(columns["index"]))):
        raise DataError(f"{where} is not of the first points of its dataset in their order: evaluate without `select`.")
    found = line(columns, evaluation.attributes)
    if found["points"] < (whole := found.get("dataset_points", found["points"])):
        raise DataError(
            f"{where} is of {found['points']:,} of {whole:,} points: RobustBench takes accuracies of all, so evaluate "
            "without `select`."
        )
    return found


def _is_export(path: Path) -> bool:
    """Whether a folder holds an export and nothing else."""
    return path.is_dir() and {entry.name for entry in path.iterdir()} <= set(FILES) and (path / FILES[0]).is_file()


__all__ = ["FILES", "Entry", "describe", "eps_text", "export", "log_of"]
