"""An evaluation in numbers; statistics of evaluations on the same points, and of several seeds.

Two networks that are evaluated on the same points are compared point by point: a bootstrap over points gives an
interval of the difference of their accuracies, McNemar's exact test the chance of so uneven a split if both were
equally good. That is about these two networks. It says nothing about two ways of training, because a second training
with another seed gives another network: for that, evaluations of several seeds are compared by their means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev, variance
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from datarobust.errors import UsageError
from datarobust.types import Array, Floats, Rows

from . import eps_text

Flags = npt.NDArray[np.bool_]
VERDICTS = ("index", "label", "clean", "attacked", "broken")
"""The arrays (M) of an evaluation: place in the dataset, label, predicted class, that of the adversarial image, and the
number of the attack that made it, from 0; -1: none."""
RESAMPLES = 10_000
LEVEL = 0.95


def summary(verdicts: Mapping[str, Array], attributes: Mapping[str, Any]) -> dict[str, Any]:
    """An evaluation as one JSON object, from its :data:`VERDICTS` and the attributes of its artifact.

    Accuracies are fractions of the points. ``delta`` is the paper's, clean minus AutoAttack accuracy. Where
    ``upper_bound`` is true, other attacks than AutoAttack's standard ones were run: then ``autoattack`` is an upper
    bound of the AutoAttack accuracy, and ``delta`` a lower bound.
    """
    broken, right = verdicts["broken"], verdicts["clean"] == verdicts["label"]
    protocol, points, clean = attributes["protocol"], len(broken), int(right.sum())
    attacks, robust = [], clean
    for number, name in enumerate(attributes["attacks"]):
        fooled = int((broken == number).sum())
        accuracy = (robust - fooled) / points
        attacks.append({"attack": name, "attacked": robust, "broken": fooled, "accuracy": accuracy})
        robust -= fooled
    robust = int((right & (broken < 0)).sum())
    about = attributes.get("about", {})
    return {
        "arch": about["arch"]["name"] if "arch" in about else None,
        "weights": about.get("weights"),
        "epoch": about.get("epoch"),
        "points": points,
        "dataset_points": attributes.get("dataset_points"),
        "norm": attributes["norm"],
        "eps": eps_text(attributes["eps"]),
        "eps_value": round(attributes["eps"], 6),
        "version": protocol["version"],
        "clean": clean / points,
        "autoattack": robust / points,
        "delta": (clean - robust) / points,
        "upper_bound": bool(protocol["upper_bound"]),
        "clean_points": clean,
        "robust_points": robust,
        "attacks": attacks,
        "left_out": protocol["left_out"],
        "flags": attributes["flags"],
        "rechecked": attributes.get("rechecked", 0),
        "faster": attributes.get("faster", False),
        "compiled": attributes.get("compiled", False),
        "seed": protocol["seed"],
        "batch": protocol["batch"],
        "device": attributes.get("device"),
        "libraries": attributes.get("libraries", {}),
        "dataset_digest": attributes["dataset"],
        "model_digest": attributes["model"],
    }


def paired(a: Flags, b: Flags, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Which of the same M points two networks have right, bool (M) each, compared; as JSON.

    ``a`` and ``b`` are the accuracies, ``difference`` is b minus a, ``interval`` 95 % of it by a bootstrap over points,
    ``only_a`` and ``only_b`` count points that one alone has right, ``p`` is McNemar's. Drawing M points with
    replacement draws numbers of points on which only a, only b, or both or none are right: a multinomial, which is what
    is drawn. The interval is that of percentiles.

    Raises UsageError where there are no points, or not as many for both.
    """
    if len(a) != len(b) or not len(a):
        raise UsageError(f"{len(a)} and {len(b)} points cannot be compared one by one")
    points, only_a, only_b = len(a), int((a & ~b).sum()), int((b & ~a).sum())
    shares = np.array([only_a, only_b, points - only_a - only_b]) / points
    drawn = np.random.Generator(np.random.Philox(seed)).multinomial(points, shares, size=resamples)
    interval = np.quantile((drawn[:, 1] - drawn[:, 0]) / points, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {
        "a": float(a.mean()),
        "b": float(b.mean()),
        "difference": (only_b - only_a) / points,
        "interval": interval.tolist(),
        "only_a": only_a,
        "only_b": only_b,
        "p": mcnemar(only_a, only_b),
    }


def mcnemar(only_a: int, only_b: int) -> float:
    """The exact test of McNemar (1947), two-sided: how likely so uneven a split is if each point falls either way.

    1 where there is nothing to split.
    """
    return float(stats.binomtest(only_a, only_a + only_b, 0.5).pvalue) if only_a + only_b else 1.0


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, standard deviation (of the sample) and t-interval of the mean over seeds; null where there is one value."""
    mean, deviation, interval = fmean(values), None, None
    if len(values) > 1:
        deviation = stdev(values)
        half = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)) * deviation / len(values) ** 0.5
        interval = [mean - half, mean + half]
    return {"values": list(values), "mean": mean, "deviation": deviation, "interval": interval}


def unpaired(a: Sequence[float], b: Sequence[float]) -> dict[str, Any]:
    """The difference of the means of two groups of seeds, with Welch's interval and test.

    Null where a group has one seed, or where no value of either differs from the others.
    """
    difference = fmean(b) - fmean(a)
    result: dict[str, Any] = {"difference": difference, "interval": None, "p": None}
    if min(len(a), len(b)) < 2:
        return result
    variances = [variance(group) for group in (a, b)]  # exactly 0 where all values are equal
    if not any(variances):
        return result
    error, freedom = welch(variances, [len(a), len(b)])
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * error
    p = 2 * float(stats.t.sf(abs(difference) / error, freedom))
    return result | {"interval": [difference - half, difference + half], "p": p}


def welch(variances: Sequence[Any], sizes: Sequence[int]) -> tuple[Any, Any]:
    """The standard error of the difference of two means, and its degrees of freedom (Welch 1947).

    ``variances`` of the two samples, not both 0, are numbers, or arrays of those of many samples.
    """
    parts = [variance / size for variance, size in zip(variances, sizes, strict=True)]  # of the means
    freedom = sum(parts) ** 2 / sum(part**2 / (size - 1) for part, size in zip(parts, sizes, strict=True))
    return sum(parts) ** 0.5, freedom


def compared(a: Sequence[Flags], b: Sequence[Flags], seed: int) -> dict[str, Any]:
    """Which points two networks, or two groups of several seeds, have right, as JSON: paired, or by their means.

    Of one network or group alone (``b`` empty) it is the accuracy.
    """
    if len(a) == len(b) == 1:
        return paired(a[0], b[0], seed)
    means = [[float(flags.mean()) for flags in group] for group in (a, b)]
    if not b:
        return {"a": means[0][0] if len(a) == 1 else spread(means[0])}
    return {"a": spread(means[0]), "b": spread(means[1]), **unpaired(*means)}


def parts_by(distance: Floats, parts: int) -> list[Rows]:
    """Rows in ``parts`` parts of almost equal size, the least robust points first; equal distances by row.

    ``distance`` float64 (M): +inf is most robust; points without a distance (NaN) are in no part.

    Raises UsageError where there are fewer points than parts.
    """
    order = np.argsort(distance, kind="stable")
    order = order[: len(order) - int(np.isnan(distance).sum())]
    if not 1 <= parts <= len(order):
        raise UsageError(f"{len(order)} points do not make {parts} parts")
    return [np.asarray(part, np.int64) for part in np.array_split(order, parts)]


def share(flags: Flags) -> tuple[float, float, float]:
    """A share of M points, and its 95 % interval (Wilson 1927)."""
    interval = stats.binomtest(int(flags.sum()), len(flags)).proportion_ci(LEVEL, "wilson")
    return float(flags.mean()), float(interval.low), float(interval.high)
