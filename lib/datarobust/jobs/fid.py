"""Two sets of images compared: FID, KID, distances of pairs as one line of JSON; moments as artifacts (Tables 1, 5)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from itertools import accumulate
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from datarobust import artifacts
from datarobust.artifacts import Resume, Step, Store
from datarobust.checkpoints.models import load_model
from datarobust.checkpoints.torchfiles import inception_wanted, load_inception
from datarobust.datasets.files import file_sha256
from datarobust.datasets.npz import Archive
from datarobust.errors import ArtifactError, DataError, DatarobustError, UsageError
from datarobust.fid.features import PIXELS, Extractor, FeatureSpace
from datarobust.fid.frechet import Moments, extrapolated
from datarobust.fid.kid import SUBSETS, kid
from datarobust.fid.sides import Side, SideFeatures, growing, halves, pair_distances, pools
from datarobust.jobs.make import Artifact, Form, Labelled, Output, Text, silent
from datarobust.networks.precision import products
from datarobust.selection import rows_digest
from datarobust.text import shown, sized
from datarobust.types import Array, Images, Rows

INCEPTION_BATCH = 64
INCEPTION_MODE = "299 x 299 as TensorFlow 1, (v - 128)/128, pool features, fp32"
_INCEPTION_OPERATIONS = 11_422_336_192
"""Of Inception's convolutions for one image."""
_CLASSIFIER_MODE = "v/255, input of the last linear layer, fp32"
_FILE_MODE = "as they are"
_FILE_BYTES = 8 << 30
"""Of an array in a file of features, at most."""
_NO_ITEMS: Rows = np.zeros(0, np.int64)
_SAME_IMAGES = ("subset", "relabel")
"""Commands of ``dataset`` whose results have some images of their input, unchanged, with their ``index``."""

# ----------------------------------------------------------------------------------------------------- features


def feature_space(spec: str, some: Images, device: torch.device, weights: Path | None = None) -> FeatureSpace:
    """The features that the option ``features`` names.

    Args:
        spec: ``inception``; ``pixels``; ``classifier:M`` where M is a classifier or ``module:factory``; ``file:F``
            where F is an npz file with arrays a and b, a row for each point.
        some: a few images, with which a network is tried.
        device: where a network runs.
        weights: of Inception.

    Raises:
        UsageError: there are no such features, or weights are missing or belong to nothing.
        ArtifactError, DataError: the network or the file cannot be used.
    """
    kind, _, name = spec.partition(":")
    if kind not in ("inception", "classifier", "pixels", "file") or bool(name) != (kind in ("classifier", "file")):
        raise UsageError(f"`features` {shown(spec)}: choose inception, classifier:M, pixels or file:F")
    if weights is not None and kind != "inception":
        raise UsageError(f"`weights` is of `features` inception, not of {kind}: leave it out")
    if kind == "pixels":
        return PIXELS
    if kind == "file":
        return _from_file(Path(name))
    if kind == "classifier":
        model = load_model(name)
        extract = Extractor(name, model.module, "penultimate", some, device)
        return FeatureSpace(
            f"classifier:{model.identity}",
            _CLASSIFIER_MODE,
            extract,
            weights=model.identity,
            operations=extract.operations(some),
        )
    if weights is None:
        raise UsageError(f"`features` inception needs `weights` PATH: {inception_wanted()}")
    if some.shape[1] not in (1, 3):
        raise DataError(f"Inception takes images with 1 or 3 channels, not with {some.shape[1]}")
    network, sha256 = load_inception(weights)
    network.prepared(device)

    def pool_features(images: Images) -> Array:
        with products("fp32", deterministic=True), torch.no_grad():
            features: Array = network(torch.from_numpy(images).to(device)).cpu().numpy()
        return features

    return FeatureSpace(
        "inception", INCEPTION_MODE, pool_features, sha256, INCEPTION_BATCH, operations=_INCEPTION_OPERATIONS
    )


def _from_file(path: Path) -> FeatureSpace:
    """Features that were computed elsewhere."""
    if not path.is_file():
        raise DataError(f"{shown(path)} is no file")
    archive = Archive(path)
    arrays: dict[str, Array] = {}
    for role in ("a", "b"):
        if role not in archive.keys:
            raise DataError(f"{shown(path)} has no array {role}: it needs a and b, a row of features for each point")
        member = archive.member(role)
        if len(member.shape) != 2 or member.dtype.kind != "f" or not member.shape[1]:
            shape = f"{member.dtype} {member.shape}"
            raise DataError(f"{shown(path)}: {role} is {shape}, not floating-point numbers (N, D)")
        arrays[role] = archive.whole(member, _FILE_BYTES)
        finite = np.isfinite(arrays[role]).all(axis=1)
        if not finite.all():
            raise DataError(f"{shown(path)}: row {int(np.argmin(finite))} of {role} has features that are not finite")
    widths = [array.shape[1] for array in arrays.values()]
    if widths[0] != widths[1]:
        raise DataError(f"{shown(path)}: a has {widths[0]} features a point, b has {widths[1]}")
    return FeatureSpace(f"file:{file_sha256(path)}", _FILE_MODE, None, arrays=arrays)


# -------------------------------------------------------------------------------- which points are compared


def side_of(store: Store) -> Side:
    """All images of a dataset or of clones.

    Raises:
        DataError: the dataset holds features.
    """
    if "images" not in store:
        raise DataError(
            f"{shown(store.path)} holds features, not images: hold features against each other with `features` file:F"
        )
    column = store.column("images")
    return Side(shown(store.path), column, np.arange(len(column)))


def open_sides(a: Store, b: Store, whole: bool = False) -> tuple[Side, Side, bool, str | None]:
    """The images of two sets that are compared.

    Where B is made of points of A (clones, or some points of A), A is restricted to these points, in B's order.

    Args:
        a: a dataset or clones.
        b: another one.
        whole: never restrict A.

    Returns:
        A, B, whether they are paired (point by point), and a remark.

    Raises:
        DataError: one holds no images, or images of another size.
    """
    one, two = side_of(a), side_of(b)
    if one.shape != two.shape and not (one.shape[1:] == two.shape[1:] and {one.shape[0], two.shape[0]} == {1, 3}):
        raise DataError(  # Inception takes grey images as coloured ones; other features refuse them
            f"{one.name} has images of {sized(one.shape)} and {two.name} of {sized(two.shape)}: bring them to one size "
            "first, since a distance would be that of the sizes too"
        )
    if whole:
        return one, two, False, None
    rows, remark = _rows_of(one, a, b)
    if rows is None:
        return one, two, False, remark
    if one.shape != two.shape:
        raise DataError(f"{two.name} was made of {one.name}, but has images of another shape")
    return replace(one, rows=rows), two, True, remark


def some_images(store: Store) -> Images:
    """A few images of a set, with which features are tried."""
    images = side_of(store).column.take(np.arange(min(8, len(store))))
    return images.reshape(-1, *images.shape[-3:])[:8]


def _rows_of(side: Side, a: Store, b: Store) -> tuple[Rows | None, str | None]:
    """The rows of A that the points of B were made of, or None; and a remark."""
    if side.repeats != 1:
        return None, None
    if b.digest == a.digest:
        return side.rows, "A and B are the same set"
    index = np.asarray(b.column("index").read(), np.int64)
    if b.kind == "clones":
        origin: str | None = "clones" if b.attributes["dataset"] == a.digest else None
    else:
        origin = _origin(b.history, a.digest)
    if origin == "clones":
        if len(index) and not 0 <= index.min() <= index.max() < len(side.rows):
            raise DataError(f"{shown(b.path)} has an index that is no row of the set it was made of")
        return index, None
    if origin == "part":
        remark = "B has images of A alone: they are held against themselves, unless `whole` takes all of A"
        return _places(np.asarray(a.column("index").read(), np.int64), index, b), remark
    if not any(a.digest in step.inputs.values() for step in b.history):
        return None, None
    return None, (
        f"{shown(b.path)} goes back to {shown(a.path)}, but was not made of it directly: there are no pairs; name the "
        "set that its points were taken from"
    )


def _origin(history: Sequence[Step], digest: str) -> Literal["clones", "part"] | None:
    """How a dataset came of another one: as clones of its points, as a part of it, or in a way that keeps no rows."""
    steps = [step for step in history if step.tool in ("clone", "dataset")]
    last = max((at for at, step in enumerate(steps) if step.inputs.get("dataset") == digest), default=None)
    same = [step.tool == "dataset" and bool(step.argv) and step.argv[0] in _SAME_IMAGES for step in steps]
    if last is None or not all(same[last + 1 :]):
        return None
    if steps[last].tool == "clone":
        return "clones"
    return "part" if same[last] else None


def _places(known: Rows, index: Rows, b: Store) -> Rows | None:
    """The rows at which ``known`` has the values of ``index``; None where that is ambiguous."""
    order = np.argsort(known, kind="stable")
    ordered = known[order]
    if (ordered[1:] == ordered[:-1]).any():
        return None
    at = np.searchsorted(ordered, index).clip(max=max(0, len(known) - 1))
    if not np.array_equal(ordered[at], index):
        raise DataError(f"{shown(b.path)} has an index that the set it was made of does not have")
    return np.asarray(order[at], np.int64)


# -------------------------------------------------------------------------------------------------- moments


@dataclass(frozen=True)
class KeptMoments:
    """Mean and covariance of a set's features, to be kept: made once, and compared with others as often as one likes.

    Attributes:
        store: the set.
        features: of its images.
        seed: of the halves by whose distance they are calibrated.
    """

    form: ClassVar[Form] = Artifact("moments")

    store: Store
    features: SideFeatures
    seed: int = 0

    @classmethod
    def of(cls, store: Store, space: FeatureSpace, batch: int, seed: int, limit: int | None) -> KeptMoments:
        """Of the first ``limit`` points of a dataset or of clones."""
        return cls(store, SideFeatures(side_of(store).first(limit), space, batch, space.arrays.get("a")), seed)

    def request(self) -> dict[str, Any]:
        """These points by these features."""
        rows = rows_digest(self.features.side.rows)
        return {"tool": "fid", "dataset": self.store.digest, "rows": rows, **self.features.space.as_json()}

    def remarks(self) -> Iterator[str]:
        """What a user should know before the work: nothing."""
        return iter(())

    def plan(self) -> dict[str, Any]:
        """The cost."""
        return _plan({"a": self.features}, self.features.space.as_json(), paired=False)

    def product(self, path: Path | None, progress: Labelled) -> str:
        """What is printed: where the moments are."""
        return str(path)

    def run(self, output: Output) -> None:
        """Compute the moments and write them."""
        moments, calibration, _ = self.compute(_NO_ITEMS, output.resume.part("a"), output.labelled)
        self.save(output, moments, calibration)

    def compute(
        self, kept: Rows, state: Resume | None, progress: Labelled
    ) -> tuple[Moments, dict[str, Any] | None, Array]:
        """The moments, how far two random halves are apart, and the features of the items ``kept``."""
        groups = halves(self.features.side.count, self.seed)
        two, pool = self.features.moments(groups, kept, state, progress("features of A, batches"))
        calibration = None
        if min(half.count for half in two) > 1:
            calibration = {"frechet": two[0].distance(two[1]), "points": two[1].count, "seed": self.seed}
        return reduce(Moments.joined, two), calibration, pool

    def save(self, output: Output, moments: Moments, calibration: Mapping[str, Any] | None) -> None:
        """Write the artifact."""
        described = {key: value for key, value in self.features.space.as_json().items() if value is not None}
        attributes = {
            "count": moments.count,
            "dataset": self.store.digest,
            "rows": rows_digest(self.features.side.rows),
            "calibration": calibration,
            **described,
        }
        arrays = {"mean": moments.mean, "covariance": moments.covariance}
        output.save(arrays, attributes, [*self.store.history, output.step({"dataset": self.store.digest})])


def load_moments(store: Store) -> tuple[Moments, dict[str, Any] | None]:
    """The moments in an artifact, and their calibration where it is known.

    Raises:
        ArtifactError: they are no moments of anything.
    """
    try:
        moments = Moments.known(
            store.attributes["count"],
            np.asarray(store.column("mean").read(), np.float64),
            np.asarray(store.column("covariance").read(), np.float64),
        )
    except DataError as error:
        raise ArtifactError(f"{shown(store.path)} cannot be used: {error}") from error
    known = store.attributes.get("calibration")
    if not isinstance(known, dict):
        return moments, None
    return moments, {"frechet": float(known["frechet"]), "points": int(known["points"]), "seed": int(known["seed"])}


# ----------------------------------------------------------------------------------------------- comparison


@dataclass
class Printed:
    """A line for stdout, beside moments that are kept at the output's path: every run makes it again."""

    line: str = ""

    def finished(self, path: Path, request: str) -> bool:
        """Never."""
        return False

    def demand_vacant(self, path: Path, request: str, overwrite: bool) -> None:
        """Nothing to say here: the job knows whether the moments are those that are there already."""

    def state(self, path: Path) -> Path:
        """Beside the moments."""
        return path


@dataclass(frozen=True)
class Comparison:
    """Two sets to be compared.

    Attributes:
        a: the reference: a dataset, clones or moments.
        b: another one.
        space: features; None where both are moments.
        batch: images at a time.
        seed: of halves and subsets.
        whole: never restrict A to the points that B was made of.
        limit: only the first points of both.
        kid_subsets: of KID; 0 for none.
        extrapolate: whether to fit distances over the number of points of B.
        save_moments: where the moments of A are kept.
        form: of the output.

    Raises:
        ArtifactError: moments of other features, mode or weights.
        DataError: fewer than two images, or a file of features with other rows.
        UsageError: an extrapolation from moments.
    """

    a: Store
    b: Store
    space: FeatureSpace | None
    batch: int
    seed: int = 0
    whole: bool = False
    limit: int | None = None
    kid_subsets: int = SUBSETS
    extrapolate: bool = False
    save_moments: Path | None = None
    form: Form = field(default_factory=Text)

    def __post_init__(self) -> None:
        whose = "those asked for are" if self.space is not None else f"those of {shown(self.a.path)} are"
        for store in (self.a, self.b):
            if store.kind == "moments":
                self._demand_same(store, whose)
        one, two = self.features.get("a"), self.features.get("b")
        if one and two and one.side.shape != two.side.shape and one.array is None and one.space.name != "inception":
            raise DataError(
                f"{one.side.name} has images of {one.side.shape[0]} channels and {two.side.name} of "
                f"{two.side.shape[0]}: only `features` inception takes grey images beside coloured ones"
            )
        if self.extrapolate and (two is None or two.side.count < 4):
            raise UsageError("`extrapolate` takes a set B of four images or more, not moments")

    def _demand_same(self, store: Store, whose: str) -> None:
        """Refuse moments of other features, of another mode or other weights."""
        for key, value in self.described.items():
            known = store.attributes.get(key)
            if known != value:
                raise ArtifactError(
                    f"{shown(store.path)} has moments of the {key} {known}, but {whose} {value}: moments are compared "
                    "with features of their own kind alone"
                )

    @cached_property
    def matched(self) -> tuple[dict[str, Side], bool, str | None]:
        """The images of the sets that are no moments, by role; whether they are paired; a remark."""
        stores = {role: store for role, store in (("a", self.a), ("b", self.b)) if store.kind != "moments"}
        paired, remark = False, None
        if len(stores) == 2:
            one, two, paired, remark = open_sides(self.a, self.b, self.whole)
            sides = {"a": one, "b": two}
        else:
            sides = {role: side_of(store) for role, store in stores.items()}
        return {role: side.first(self.limit) for role, side in sides.items()}, paired, remark

    @cached_property
    def features(self) -> dict[str, SideFeatures]:
        """Of the sets that are no moments, by role."""
        space = self.space
        if space is None:
            return {}
        sides, _, _ = self.matched
        return {role: SideFeatures(side, space, self.batch, space.arrays.get(role)) for role, side in sides.items()}

    @property
    def described(self) -> dict[str, Any]:
        """Features, mode and weights."""
        if self.space is not None:
            return self.space.as_json()
        return {key: self.a.attributes.get(key) for key in ("features", "mode", "weights")}

    def request(self) -> dict[str, Any]:
        """All that decides the numbers, to the last bit on one machine."""
        sides, paired, _ = self.matched
        rows = {role: rows_digest(sides[role].rows if role in sides else _NO_ITEMS) for role in "ab"}
        compared = {"a": [self.a.digest, rows["a"]], "b": [self.b.digest, rows["b"]]}
        choices = [paired, self.batch, self.seed, self.kid_subsets, self.extrapolate]
        return {"tool": "fid", "sides": compared, "choices": choices, **self.described}

    def remarks(self) -> Iterator[str]:
        """What a user should know before the work."""
        sides, paired, remark = self.matched
        if remark is not None:
            yield f"{remark}."
        if paired:
            yield f"A is restricted to the {len(sides['a'].rows):,} points that B was made of."
        for role, store in (("A", self.a), ("B", self.b)):
            if store.kind == "moments":
                yield f"{role} is moments: there is no KID, there are no pairs."

    def plan(self) -> dict[str, Any]:
        """The cost."""
        return _plan(self.features, self.described, self.matched[1])

    def product(self, path: Path | None, progress: Labelled) -> str:
        """What is printed: the line, of the finished output or, where there is none, of all numbers computed now."""
        if path is None:
            return self.line(None, progress)
        return self.form.line if isinstance(self.form, Printed) else path.read_text(encoding="utf-8").rstrip("\n")

    def run(self, output: Output) -> None:
        """Compute all numbers, keep the moments of A where that is asked for, and write the line."""
        line = self.line(output, output.labelled)
        if isinstance(self.form, Printed):
            self.form.line = line
        else:
            output.write_text(f"{line}\n")

    def line(self, output: Output | None = None, progress: Labelled = silent) -> str:
        """All numbers as one JSON object; where there is an output, a killed run is gone on with.

        Raises:
            ExistsError: something else is where the moments are to be kept.
            DataError: features that are not finite.
        """
        sides, paired, _ = self.matched
        kept = {}
        if self.kid_subsets and len(self.features) == 2:
            kept = dict(zip("ab", pools(sides["a"], sides["b"], paired, self.seed), strict=True))
        reference, calibration, x = self._reference(kept.get("a"), output, progress)
        parts, y = self._parts_of_b(kept.get("b"), output, progress)
        whole_b = reduce(Moments.joined, parts)
        distance = reference.distance(whole_b)
        if not np.isfinite(distance):
            raise DatarobustError("the distance is not finite: the features are too large for it")
        limit = None
        if self.extrapolate:
            sizes = progress("extrapolating, sizes")(accumulate(parts, Moments.joined))
            limit = extrapolated([(part.count, reference.distance(part)) for part in sizes])
        estimate = None
        if kept:
            wrap = progress("KID, subsets")
            estimate = kid(x, y, paired, subsets=self.kid_subsets, seed=self.seed, progress=wrap).as_json()
        pairs: dict[str, Any] = {"oc": None, "cc": None}
        if "b" in sides:
            wrap = progress("distances of pairs, batches")
            pairs = pair_distances(sides["a"] if paired else None, sides["b"], wrap)
        fid = {"fid": distance} if self.described["features"] == "inception" else {}
        numbers = {
            "a": str(self.a.path),
            "b": str(self.b.path),
            **fid,
            "frechet": distance,
            **self.described,
            "n": {"a": reference.count, "b": whole_b.count},
            "dimensions": reference.width,
            "paired": paired,
            "calibration": calibration,
            "kid": estimate,
            **pairs,
            "extrapolated": limit,
            "seed": self.seed,
            "moments": self.save_moments and str(self.save_moments),
            "request": artifacts.fingerprint(self.request()),
        }
        return json.dumps(numbers)

    def _reference(
        self, kept: Rows | None, output: Output | None, progress: Labelled
    ) -> tuple[Moments, dict[str, Any] | None, Array]:
        """Moments of A, new or known; their calibration; the features that are kept for KID."""
        nothing = np.zeros((0, 0))
        if "a" not in self.features:
            return *load_moments(self.a), nothing
        job, items = KeptMoments(self.a, self.features["a"], self.seed), _NO_ITEMS if kept is None else kept
        state, path = None if output is None else output.resume.part("a"), self.save_moments
        if path is None or output is None:
            return job.compute(items, state, progress)
        request = artifacts.fingerprint(job.request())
        known = not output.overwrite and artifacts.finished(path, request)
        if not known:
            artifacts.demand_vacant(path, "moments", output.overwrite)
        elif state is None or state.load() is None:
            known_moments = load_moments(artifacts.open_store(path, "moments"))
            return *known_moments, self.features["a"].of(items) if len(items) else nothing
        moments, calibration, pool = job.compute(items, state, progress)
        if not known:
            job.save(replace(output, path=path, form=job.form, request=request), moments, calibration)
        return moments, calibration, pool

    def _parts_of_b(self, kept: Rows | None, output: Output | None, progress: Labelled) -> tuple[list[Moments], Array]:
        """Moments of parts of B, which joined one by one make growing sets, and the features that are kept for KID."""
        if "b" not in self.features:
            return [load_moments(self.b)[0]], np.zeros((0, 0))
        features = self.features["b"]
        groups = (growing if self.extrapolate else halves)(features.side.count, self.seed)
        state = None if output is None else output.resume.part("b")
        items = _NO_ITEMS if kept is None else kept
        return features.moments(groups, items, state, progress("features of B, batches"))


def findings(line: Mapping[str, Any]) -> Iterator[str]:
    """What the numbers of a comparison alone do not say."""
    counts, width, calibration = line["n"].values(), line["dimensions"], line["calibration"]
    if min(counts) <= width:
        yield (
            f"{min(counts):,} points span fewer than the {width:,} dimensions of the features: the distance is biased "
            "upwards, and comparable only with those of as many points; KID is not biased."
        )
    if calibration is not None:
        yield (
            f"Two random halves of A, {calibration['points']:,} points each, are {calibration['frechet']:.4g} apart: "
            "what so many points make of no difference."
        )


def _plan(features: Mapping[str, SideFeatures], described: Mapping[str, Any], paired: bool) -> dict[str, Any]:
    """The cost of the features of these sides; the time is that of one batch, measured."""
    first = next(iter(features.values()), None)
    width, seconds = 0, 0.0
    if first is not None:
        items = np.arange(min(first.batch, first.side.count))
        began = time.perf_counter()
        width = first.of(items).shape[1]
        seconds = (time.perf_counter() - began) / len(items)
    sides = {role: part.side for role, part in features.items()}
    images = sum(side.count for side in sides.values())
    return {
        "n": {role: side.count for role, side in sides.items()},
        "paired": paired,
        **described,
        "dimensions": width,
        "operations": images * (0 if first is None else first.space.operations),
        "bytes": sum(side.count * int(np.prod(side.shape)) for side in sides.values()),
        "expected_seconds": round(images * seconds, 1),
    }
