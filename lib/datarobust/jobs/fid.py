"""Two sets of images compared: FID, KID, distances of pairs as one line of JSON; moments as artifacts (Tables 1, 5)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, reduce
from itertools import accumulate
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from datarobust import artifacts
from datarobust.ahead import ahead
from datarobust.artifacts import Column, Resume, Store
from datarobust.checkpoints.models import load_model
from datarobust.checkpoints.torchfiles import inception_advice, load_inception
from datarobust.datasets import npz
from datarobust.datasets.files import file_sha256
from datarobust.distributed import Group
from datarobust.errors import ArtifactError, DataError, DatarobustError, UsageError
from datarobust.fid import (
    SUBSETS,
    Moments,
    Node,
    Sums,
    as_tensor,
    extrapolated,
    joined,
    kid,
    packed,
    total,
    unpacked,
)
from datarobust.jobs.make import ALONE, Artifact, Form, Labelled, Output, Text, silent
from datarobust.networks import products
from datarobust.networks.features import PIXELS, Extractor, FeatureSpace, sparing
from datarobust.norms import L2, LINF
from datarobust.randomness import Domain, permutation
from datarobust.selection import rows_digest
from datarobust.text import shown, sized
from datarobust.types import Array, Images, Progress, Rows

INCEPTION_MODE = "299 x 299 as TensorFlow 1, (v - 128)/128, pool features, fp32"
_INCEPTION_OPERATIONS = 11_422_336_192  # of Inception's convolutions for one image
_FILE_BYTES = 8 << 30  # of an array in a file of features, at most
_POOL = 1 << 14  # images of each side, at most, whose features are kept for KID
_CLONE_BYTES = 1 << 24  # of clones at a time, for distances of pairs
_SIZES, _SMALLEST = 15, 5000  # sets that a distance is extrapolated from; the smallest has 5,000 images, or half
_NO_ITEMS: Rows = np.zeros(0, np.int64)


def feature_space(spec: str, some: Images, device: torch.device, weights: Path | None = None) -> FeatureSpace:
    """The features that ``spec`` names; a network runs on the device and is tried with some images.

    It is ``inception``, whose file is ``weights``, ``pixels``, ``classifier:M`` or ``file:F``, as fid's help says.
    """
    kind, _, name = spec.partition(":")
    if kind not in ("inception", "classifier", "pixels", "file") or bool(name) != (kind in ("classifier", "file")):
        raise UsageError(f"`features` {shown(spec)}: choose inception, classifier:M, pixels or file:F")
    if weights is not None and kind != "inception":
        raise UsageError(f"`weights` is of `features` inception, not of {kind}: leave it out")
    if kind == "pixels":
        return replace(PIXELS, device=device)
    if kind == "file":
        return replace(_from_file(Path(name)), device=device)
    if kind == "classifier":
        model = load_model(name)
        extract = Extractor(name, model.module, "penultimate", some, device)
        title, mode = f"classifier:{model.identity}", "v/255, input of the last linear layer, fp32"
        operations = extract.operations(some)
        return FeatureSpace(title, mode, sparing(extract), model.identity, operations=operations, device=device)
    if weights is None:
        raise UsageError(f"`features` inception needs `weights` PATH: {inception_advice()}")
    if some.shape[1] not in (1, 3):
        raise DataError(f"Inception takes images with 1 or 3 channels, not with {some.shape[1]}")
    network, sha256 = load_inception(weights)
    network.prepared(device)

    def pool_features(images: Images) -> Array:
        with products("fp32", deterministic=True), torch.no_grad():
            features: Array = network(torch.from_numpy(images).to(device)).cpu().numpy()
        return features

    batch = 64 if device.type == "cpu" else 512
    of_inception = ("inception", INCEPTION_MODE, sparing(pool_features), sha256, batch, _INCEPTION_OPERATIONS)
    return FeatureSpace(*of_inception, device=device)


def _from_file(path: Path) -> FeatureSpace:
    """Features that were computed elsewhere."""
    where = shown(path)
    if not path.is_file():
        raise DataError(f"{where} is not a file")
    infos = npz.members(path)
    arrays: dict[str, Array] = {}
    for role in ("a", "b"):
        if role not in infos:
            raise DataError(f"{where} has no array {role}: it needs a and b, a row of features for each point")
        member = npz.member(path, role, infos[role])
        if len(member.shape) != 2 or member.dtype.kind != "f" or not member.shape[1]:
            raise DataError(f"{where}: {role} is {member.dtype} {member.shape}, not floating-point numbers (N, D)")
        arrays[role] = member.whole(_FILE_BYTES)
        finite = np.isfinite(arrays[role]).all(axis=1)
        if not finite.all():
            raise DataError(f"{where}: row {int(np.argmin(finite))} of {role} has features that are not finite")
    widths = [array.shape[1] for array in arrays.values()]
    if widths[0] != widths[1]:
        raise DataError(f"{where}: a has {widths[0]} features a point, b has {widths[1]}")
    return FeatureSpace(f"file:{file_sha256(path)}", "as they are", None, arrays=arrays)


@dataclass(frozen=True)
class Side:
    """Images of a set: item ``i`` is clone ``i % repeats`` of row ``rows[i // repeats]``."""

    name: str  # of the set, for messages
    column: Column  # all images of the set, uint8 (N, C, H, W), or clones (N, R, C, H, W)
    rows: Rows  # int64 (M), the rows that take part

    @property
    def repeats(self) -> int:
        """Clones in a row; 1 of a dataset."""
        return self.column.shape[1] if len(self.column.shape) == 5 else 1

    @property
    def count(self) -> int:
        """How many items."""
        return len(self.rows) * self.repeats

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an image, (C, H, W)."""
        return self.column.shape[-3:]

    def take(self, items: Rows) -> Images:
        """Images uint8 (B, C, H, W) of these items."""
        images = self.column.take(self.rows[items // self.repeats])
        return images[np.arange(len(items)), items % self.repeats] if images.ndim == 5 else images


def side_of(store: Store, limit: int | None = None) -> Side:
    """The images of the first ``limit`` points of a dataset or of clones. Raises DataError where there are none."""
    if "images" not in store:
        raise DataError(f"{shown(store.path)} holds features, not images: compare features with `features` file:F")
    column = store.column("images")
    return Side(shown(store.path), column, np.arange(len(column))[:limit])


def some_images(store: Store) -> Images:
    """A few images of a set, with which features are tried."""
    images = side_of(store).column.take(np.arange(min(8, len(store))))
    return images.reshape(-1, *images.shape[-3:])[:8]


def open_sides(a: Store, b: Store, whole: bool = False) -> tuple[Side, Side, bool, str | None]:
    """The images of two sets that are compared, whether they are paired (point by point), and a remark.

    Where B is made of points of A (clones, or some points of A), A is restricted to these points, in B's order, but
    never with ``whole``. Raises DataError where one holds no images, or images of another size.
    """
    side_a, side_b = side_of(a), side_of(b)
    (channels_a, *size_a), (channels_b, *size_b) = side_a.shape, side_b.shape
    # Inception takes grey images as coloured ones; other features refuse them.
    if size_a != size_b or (channels_a != channels_b and {channels_a, channels_b} != {1, 3}):
        sizes = f"images of {sized(side_a.shape)} and {side_b.name} of {sized(side_b.shape)}"
        raise DataError(f"{side_a.name} has {sizes}: bring them to one size first")
    rows, remark = (None, None) if whole else _rows_of(side_a, a, b)
    if rows is None:
        return side_a, side_b, False, remark
    if side_a.shape != side_b.shape:
        raise DataError(f"{side_b.name} was made of {side_a.name}, but has images of another shape")
    return replace(side_a, rows=rows), side_b, True, remark


def _rows_of(side: Side, a: Store, b: Store) -> tuple[Rows | None, str | None]:
    """The rows of A that the points of B were made of, or None; and a remark."""
    if side.repeats != 1:
        return None, None
    if b.digest == a.digest:
        return side.rows, "A and B are the same set"
    index = np.asarray(b.column("index").read(), np.int64)
    origin = _origin(b, a.digest)
    if origin == "clones":
        if len(index) and not 0 <= index.min() <= index.max() < len(side.rows):
            raise DataError(f"{shown(b.path)} has an index that is not a row of the set it was made of")
        return index, None
    if origin == "part":
        remark = "B contains only images of A, so they are compared with themselves; use `whole` for all of A"
        places = {known: row for row, known in enumerate(a.column("index").read().tolist())}
        if len(places) < len(a):  # the same point twice
            return None, remark
        try:
            return np.array([places[known] for known in index.tolist()], np.int64), remark
        except KeyError:
            raise DataError(f"{shown(b.path)} has an index that the set it was made of does not have") from None
    if not any(a.digest in step.inputs.values() for step in b.history):
        return None, None
    descent = f"{shown(b.path)} goes back to {shown(a.path)}, but was not made of it directly"
    return None, f"{descent}: there are no pairs; name the set that its points were taken from"


def _origin(store: Store, digest: str) -> Literal["clones", "part"] | None:
    """How a set came of another one: as clones of its points, as a part of it, or in a way that keeps no rows."""
    if store.kind == "clones":
        return "clones" if store.attributes["dataset"] == digest else None
    steps = [step for step in store.history if step.tool in ("clone", "dataset")]
    last = max((at for at, step in enumerate(steps) if step.inputs.get("dataset") == digest), default=None)
    # these commands keep images as they are, with their ``index``
    same = [step.tool == "dataset" and bool(step.argv) and step.argv[0] in ("subset", "relabel") for step in steps]
    if last is None or not all(same[last + 1 :]):
        return None
    return "clones" if steps[last].tool == "clone" else "part" if same[last] else None


def halves(count: int, seed: int) -> Rows:
    """0 or 1 for each of ``count`` items: random halves, of which the first may have one more."""
    return np.argsort(permutation(seed, Domain.FID_HALVES.of(0), count)) * 2 // count


def growing(count: int, seed: int) -> Rows:
    """For each of ``count`` items the number of the first of the growing random sets that has it."""
    least = _SMALLEST if count >= 2 * _SMALLEST else max(2, count // 2)
    sizes = np.unique(np.linspace(least, count, _SIZES).astype(np.int64))
    rank = np.argsort(permutation(seed, Domain.FID_ORDER.of(0), count))
    return np.searchsorted(sizes, rank, side="right").astype(np.int64)


def _pools(a: Side, b: Side, paired: bool, seed: int) -> tuple[Rows, Rows]:
    """Items of A and of B whose features KID takes; where they are paired, one clone each of the same images."""
    if not paired:
        first, second = (permutation(seed, Domain.FID_POOL.of(n), side.count)[:_POOL] for n, side in enumerate((a, b)))
        return first, second
    points = permutation(seed, Domain.FID_POOL.of(0), len(a.rows))[:_POOL]
    repeat = permutation(seed, Domain.FID_REPEAT.of(0), len(a.rows)) % b.repeats
    return points, points * b.repeats + repeat[points]


@dataclass(frozen=True)
class SideFeatures:
    """The features of a side, of two images or more."""

    side: Side
    space: FeatureSpace
    role: str = "a"  # "a" or "b", by which a file of features names the side

    def __post_init__(self) -> None:
        side, array = self.side, self.space.arrays.get(self.role)
        if side.count < 2:
            raise DataError(f"{side.name} gives {side.count} images, but a Fréchet distance takes two or more")
        images = side.column.shape[0] * side.repeats
        if array is not None and len(array) != images:
            rows = f"{len(array):,} rows for {side.name}, which has {images:,} images"
            raise DataError(f"the file of features has {rows}")

    def of(self, items: Rows, group: Group = ALONE) -> Array:
        """Features (B, D) of some items; several processes share the work, and the first has all of them."""
        batches = [items[span] for span in _spans(len(items), self.space.batch)]
        own = list(self._features(batches[slice(*group.share(len(batches)))]))
        return _concatenated(part["features"] for part in group.to_main({"features": _concatenated(own)}))

    def _features(self, batches: Sequence[Rows]) -> Iterator[Array]:
        """Features (B, D) of each batch of items. Raises DataError where one is not finite."""
        side = self.side
        for items, loaded in zip(batches, ahead(self._load, batches), strict=True):
            features = loaded if self.space.arrays else self.space.of(loaded)
            finite = np.isfinite(features).all(axis=1)
            if not finite.all():
                row = int(side.rows[int(items[int(np.argmin(finite))]) // side.repeats])
                raise DataError(f"{side.name}: the features of row {row} are not finite")
            yield features

    def _load(self, items: Rows) -> Array:
        """Images uint8 (B, C, H, W) of some items, or features where they come from a file."""
        side = self.side
        if not self.space.arrays:
            return side.take(items)
        rows = side.rows[items // side.repeats] * side.repeats + items % side.repeats
        return np.asarray(self.space.arrays[self.role][rows])

    def sums(
        self, groups: Rows, kept: Rows, state: Resume | None, progress: Progress, group: Group = ALONE
    ) -> tuple[list[Sums], Array]:
        """Sums of each group of items, and the features (K, D) of the items ``kept``; each is computed once.

        ``groups`` (count) has the number of each item's group, from 0; none of them is empty. ``kept`` (K) are
        different items in any order. What an earlier run left in ``state`` is not computed again. Of several processes
        each takes consecutive batches; the result, which is the first one's alone, has the same bits for any number.
        """
        ascending, device, count = np.sort(kept), self.space.device, int(groups.max()) + 1
        batches = list(_spans(self.side.count, self.space.batch))
        first, last = group.share(len(batches))
        # In one name, so that no signal comes between them.
        standing: tuple[list[Node], list[Array], int] = [], [], first
        saved = None if state is None else state.load()
        if saved is not None and "nodes" in saved:  # earlier versions saved something else
            standing = unpacked(saved, device), [saved["pool"]], int(saved["done"])
        del saved

        def snapshot() -> dict[str, Array]:
            nodes, pool, done = standing
            return {**packed(nodes), "pool": _concatenated(pool), "done": np.array(done)}

        numbers = range(standing[2], last)
        try:
            for number, features in zip(progress(numbers), self._features(batches[standing[2] : last]), strict=True):
                items = batches[number]
                points = as_tensor(features[np.argsort(groups[items], kind="stable")], device)
                counts = np.bincount(groups[items], minlength=count)
                node = Node(0, number, tuple(map(Sums.of, torch.split(points, counts.tolist()))))
                low, high = np.searchsorted(ascending, [items[0], items[-1] + 1])
                more = [features[ascending[low:high] - items[0]]] if high > low else []
                standing = joined(standing[0], node), [*standing[1], *more], number + 1
                if state is not None and state.due:
                    state.save(snapshot())
        except BaseException as error:
            if state is not None and not isinstance(error, Exception):  # a signal
                state.save(snapshot())
            raise
        own = snapshot()
        standing = [], [], last  # from here on nothing is held twice that is large
        if state is not None:
            state.save(own)
        nodes, pool = list[Node](), list[Array]()
        for part in group.to_main(own):
            pool.append(part["pool"])
            for node in unpacked(part, device):
                nodes = joined(nodes, node)
            part.clear()
        if not group.is_main:
            return [], _concatenated([])
        in_order = np.searchsorted(ascending, kept)
        return total(nodes), _concatenated(pool).take(in_order, axis=0)


def _concatenated(parts: Iterable[Array]) -> Array:
    """Rows of features one after the other; of no rows nobody knows how wide they would be."""
    filled = [part for part in parts if len(part)]
    if len(filled) == 1:
        return filled[0]
    return np.concatenate(filled) if filled else np.zeros((0, 0))


def _spans(count: int, size: int) -> Iterator[Rows]:
    """The items 0 to ``count`` - 1, ``size`` at a time."""
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))


def pair_distances(a: Side | None, b: Side, progress: Progress = iter) -> dict[str, dict[str, Any] | None]:
    """Mean l2 and linf distances in [0, 1] units of images and clones (O:C), and of successive clones (C:C).

    ``a`` are the images that the clones ``b`` were made of, one for each of its rows; None where they are not known.
    ``oc`` is None without a, ``cc`` for one clone of each image. Both have l2, linf and the number of pairs.
    """
    repeats, distances = b.repeats, dict[str, list[Array]](oc=[], cc=[])
    if a is None and repeats == 1:
        return {"oc": None, "cc": None}
    for points in progress(list(_spans(len(b.rows), max(1, _CLONE_BYTES // (repeats * int(np.prod(b.shape))))))):
        items = (points[:, None] * repeats + np.arange(repeats)).ravel()
        clones = b.take(items).reshape(len(points), repeats, *b.shape)
        compared = {} if repeats == 1 else {"cc": (clones[:, :-1], clones[:, 1:])}
        if a is not None:
            compared["oc"] = np.broadcast_to(a.take(points)[:, None], clones.shape), clones
        for name, pairs in compared.items():
            x, y = (images.reshape(-1, *b.shape) for images in pairs)
            distances[name].append(np.stack([norm.distances(norm.keys(x, y), np.uint8) for norm in (L2, LINF)]))
    result: dict[str, dict[str, Any] | None] = dict.fromkeys(distances)
    for name, parts in distances.items():
        if parts:
            l2, linf = np.concatenate(parts, axis=1)
            result[name] = {"l2": float(l2.mean()), "linf": float(linf.mean()), "pairs": len(l2)}
    return result


_Reference = tuple[Moments, dict[str, Any] | None, Array]
"""Moments of A, their calibration where it is known, and the features that KID takes."""


def _state(output: Output, role: str) -> Resume:
    """What this process has left of a side: its share of the batches depends on the number of processes."""
    rank, size = output.group.rank, output.group.size
    return output.resume.part(role if size == 1 else f"{role}-{rank}of{size}")


@dataclass(frozen=True)
class KeptMoments:
    """Mean and covariance of a set's features, to be kept and compared with others as often as one likes."""

    form: ClassVar[Form] = Artifact("moments")

    store: Store
    features: SideFeatures  # of its images
    seed: int = 0  # of the halves by whose distance they are calibrated

    def request(self) -> dict[str, Any]:
        """These points by these features."""
        rows = rows_digest(self.features.side.rows)
        return {"tool": "fid", "dataset": self.store.digest, "rows": rows, **self.features.space.as_json()}

    def plan(self) -> dict[str, Any]:
        """The cost."""
        return _plan({"a": self.features}, self.features.space, paired=False)

    def run(self, output: Output) -> None:
        """Compute the moments and write them."""
        result = self.compute(_NO_ITEMS, _state(output, "a"), output.labelled, output.group)
        if result is not None:
            self.save(output, *result[:2])

    def compute(self, kept: Rows, state: Resume | None, progress: Labelled, group: Group = ALONE) -> _Reference | None:
        """The moments, how far two random halves are apart, and the features of the items ``kept``.

        Of several processes the first one has them.
        """
        groups = halves(self.features.side.count, self.seed)
        sums, pool = self.features.sums(groups, kept, state, progress("features of A, batches"), group)
        if not group.is_main:
            return None
        (first, second), calibration = sums, None
        if second.count > 1:
            distance = first.moments().distance(second.moments())
            calibration = {"frechet": distance, "points": second.count, "seed": self.seed}
        return first.joined(second).moments(), calibration, pool

    def save(self, output: Output, moments: Moments, calibration: Mapping[str, Any] | None) -> None:
        """Write the artifact."""
        attributes = {
            "count": moments.count,
            "dataset": self.store.digest,
            "rows": rows_digest(self.features.side.rows),
            "calibration": calibration,
            **{key: value for key, value in self.features.space.as_json().items() if value is not None},
        }
        arrays = {"mean": moments.mean, "covariance": moments.covariance}
        output.save(arrays, attributes, [*self.store.history, output.step({"dataset": self.store.digest})])


def space_of(store: Store) -> FeatureSpace:
    """The features that moments are of, which cannot be made of images."""
    known = store.attributes
    return FeatureSpace(known["features"], known.get("mode"), None, known.get("weights"), batch=1)


def load_moments(store: Store) -> tuple[Moments, dict[str, Any] | None]:
    """The moments in an artifact, and their calibration where it is known. Raises ArtifactError where they are none."""
    mean, covariance = (np.asarray(store.column(name).read(), np.float64) for name in ("mean", "covariance"))
    try:
        moments = Moments.known(store.attributes["count"], mean, covariance)
    except DataError as error:
        raise ArtifactError(f"{shown(store.path)} cannot be used: {error}") from error
    known = store.attributes.get("calibration")
    return moments, known and {"frechet": float(known["frechet"]), "points": known["points"], "seed": known["seed"]}


@dataclass
class Printed(Form):
    """A line for stdout, beside moments that are kept at the output's path."""

    line: str = ""

    def finished(self, path: Path, request: str) -> bool:
        """Never: every run makes the line again."""
        return False

    def demand_vacant(self, path: Path, request: str, overwrite: bool) -> None:
        """The job itself sees whether the moments are those that are there already."""


@dataclass(frozen=True)
class Comparison:
    """Two sets to be compared. Raises a DatarobustError where they, or their moments, do not go together."""

    a: Store  # the reference: a dataset, clones or moments
    b: Store
    space: FeatureSpace
    seed: int = 0  # of halves and subsets
    whole: bool = False  # never restrict A to the points that B was made of
    limit: int | None = None  # only the first points of both
    kid_subsets: int = SUBSETS  # 0: no KID
    extrapolate: bool = False  # fit distances over the number of points of B
    save_moments: Path | None = None  # where the moments of A are kept
    form: Form = field(default_factory=Text)

    def __post_init__(self) -> None:
        whose = "those asked for are" if self.features else f"those of {shown(self.a.path)} are"
        for store in (self.a, self.b):
            for key, value in self.space.as_json().items() if store.kind == "moments" else ():
                if (known := store.attributes.get(key)) != value:
                    where = shown(store.path)
                    raise ArtifactError(f"{where} has moments of the {key} {known}, but {whose} {value}: take the same")
        a, b = self.features.get("a"), self.features.get("b")
        if a and b and a.side.shape != b.side.shape and not a.space.arrays and a.space.name != "inception":
            channels = f"{a.side.shape[0]} channels and {b.side.name} of {b.side.shape[0]}"
            advice = "only `features` inception takes grey images beside coloured ones"
            raise DataError(f"{a.side.name} has images of {channels}: {advice}")
        if self.extrapolate and (b is None or b.side.count < 4):
            raise UsageError("`extrapolate` takes a set B of four images or more, not moments")

    @cached_property
    def matched(self) -> tuple[dict[str, Side], bool, str | None]:
        """The images of the sets that are no moments, by role; whether they are paired; a remark."""
        stores = {role: store for role, store in (("a", self.a), ("b", self.b)) if store.kind != "moments"}
        if len(stores) < 2:
            return {role: side_of(store, self.limit) for role, store in stores.items()}, False, None
        a, b, paired, remark = open_sides(self.a, self.b, self.whole)
        sides = {role: replace(side, rows=side.rows[: self.limit]) for role, side in (("a", a), ("b", b))}
        return sides, paired, remark

    @cached_property
    def features(self) -> dict[str, SideFeatures]:
        """Of the sets that are no moments, by role."""
        return {role: SideFeatures(side, self.space, role) for role, side in self.matched[0].items()}

    def request(self) -> dict[str, Any]:
        """All that decides the numbers, to the last bit on one machine."""
        sides, paired, _ = self.matched
        rows = {role: rows_digest(sides[role].rows if role in sides else _NO_ITEMS) for role in "ab"}
        compared = {"a": [self.a.digest, rows["a"]], "b": [self.b.digest, rows["b"]]}
        choices = [paired, self.space.batch, self.seed, self.kid_subsets, self.extrapolate]
        return {"tool": "fid", "sides": compared, "choices": choices, **self.space.as_json()}

    def remarks(self) -> Iterator[str]:
        """What a user should know before the work."""
        sides, paired, remark = self.matched
        if remark is not None:
            yield f"{remark}."
        if paired:
            yield f"A is restricted to the {len(sides['a'].rows):,} points that B was made from."
        for role, store in (("A", self.a), ("B", self.b)):
            if store.kind == "moments":
                yield f"{role} is given by its moments: there is no KID and there are no pairs."

    def plan(self) -> dict[str, Any]:
        """The cost."""
        return _plan(self.features, self.space, self.matched[1])

    def product(self, path: Path | None, progress: Labelled, group: Group = ALONE) -> str:
        """The line of the finished output or, where there is none, of all numbers computed now."""
        if path is None:
            return self.line(None, progress, group)
        if not group.is_main:
            return ""
        return self.form.line if isinstance(self.form, Printed) else path.read_text(encoding="utf-8").rstrip("\n")

    def run(self, output: Output) -> None:
        """Compute all numbers, keep the moments of A where that is asked for, and write the line."""
        line = self.line(output, output.labelled, output.group)
        if isinstance(self.form, Printed):
            self.form.line = line
        elif output.group.is_main:
            output.write_text(f"{line}\n")

    def line(self, output: Output | None = None, progress: Labelled = silent, group: Group = ALONE) -> str:
        """All numbers as one JSON object; where there is an output, a killed run is gone on with.

        Several processes share the features; all but the first have an empty line.
        """
        sides, paired, _ = self.matched
        with_kid = self.kid_subsets and len(self.features) == 2
        kept = _pools(sides["a"], sides["b"], paired, self.seed) if with_kid else (_NO_ITEMS, _NO_ITEMS)
        of_a = self._reference(kept[0], output, progress, group)
        parts, y = list[Sums](), _concatenated([])
        if "b" in sides:  # sums of parts of B, which joined one by one make growing sets
            groups = (growing if self.extrapolate else halves)(sides["b"].count, self.seed)
            state = None if output is None else _state(output, "b")
            parts, y = self.features["b"].sums(groups, kept[1], state, progress("features of B, batches"), group)
        if of_a is None:
            return ""
        reference, calibration, x = of_a
        whole_b = reduce(Sums.joined, parts).moments() if parts else load_moments(self.b)[0]
        distance = reference.distance(whole_b)
        if not np.isfinite(distance):
            raise DatarobustError("the distance is not finite: the features are too large for it")
        limit = estimate = None
        if self.extrapolate:
            sizes = progress("extrapolating, sizes")(accumulate(parts, Sums.joined))
            limit = extrapolated([(part.count, reference.distance(part.moments())) for part in sizes])
        if with_kid:
            wrap = progress("KID, subsets")
            gpu = None if self.space.device.type == "cpu" else self.space.device
            pool_a, pool_b = (pool if gpu is None else as_tensor(pool, gpu) for pool in (x, y))
            estimate = asdict(kid(pool_a, pool_b, paired, subsets=self.kid_subsets, seed=self.seed, progress=wrap))
        pairs: dict[str, Any] = {"oc": None, "cc": None}
        if "b" in sides:
            wrap = progress("distances of pairs, batches")
            pairs = pair_distances(sides["a"] if paired else None, sides["b"], wrap)
        numbers = {
            "a": str(self.a.path),
            "b": str(self.b.path),
            "fid": distance if self.space.name == "inception" else None,
            "frechet": distance,
            **self.space.as_json(),
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

    def _reference(self, kept: Rows, output: Output | None, progress: Labelled, group: Group) -> _Reference | None:
        """Moments of A, new or known; their calibration; the features that are kept for KID: in the first process."""
        path = self.save_moments
        if "a" not in self.features:
            return (*load_moments(self.a), _concatenated([])) if group.is_main else None
        job = KeptMoments(self.a, self.features["a"], self.seed)
        state = None if output is None else _state(output, "a")
        if output is None or state is None or path is None:
            return job.compute(kept, state, progress, group)
        request = artifacts.fingerprint(job.request())
        known = group.agree(group.is_main and not output.overwrite and artifacts.finished(path, request))
        if not known and group.is_main:
            artifacts.demand_vacant(path, "moments", output.overwrite)
        if known and group.any(state.load() is None):
            pool = self.features["a"].of(kept, group)
            return (*load_moments(artifacts.open_store(path, "moments")), pool) if group.is_main else None
        result = job.compute(kept, state, progress, group)
        if result is not None and not known:
            job.save(replace(output, path=path, form=job.form, request=request), *result[:2])
        return result


def findings(line: Mapping[str, Any]) -> Iterator[str]:
    """What the numbers of a comparison alone do not say."""
    counts, width, calibration = line["n"].values(), line["dimensions"], line["calibration"]
    if min(counts) <= width:
        few = f"{min(counts):,} points span fewer than the {width:,} dimensions of the features"
        yield f"{few}: the distance is biased upwards: compare it at equal numbers of points only. KID is unbiased."
    if calibration is not None:
        sizes = f"two random halves of A ({calibration['points']:,} images each)"
        yield f"Noise floor: {sizes} are {calibration['frechet']:.4g} apart."


def _plan(features: Mapping[str, SideFeatures], space: FeatureSpace, paired: bool) -> dict[str, Any]:
    """The cost of the features of these sides; the time is that of one batch, measured."""
    counts = {role: part.side.count for role, part in features.items()}
    images, width, seconds = sum(counts.values()), 0, 0.0
    for first in list(features.values())[:1]:
        items = np.arange(min(space.batch, first.side.count))
        began = time.perf_counter()
        width = first.of(items).shape[1]
        seconds = (time.perf_counter() - began) / len(items)
    return {
        "n": counts,
        "paired": paired,
        **space.as_json(),
        "dimensions": width,
        "operations": images * space.operations,
        "bytes": sum(part.side.count * int(np.prod(part.side.shape)) for part in features.values()),
        "expected_seconds": round(images * seconds, 1),
    }
