"""Measure what finds wrong labels: r_same/r_other beside 1/r, cleanlab and fastdup; prints Markdown tables.

    DATAROBUST_SHARED=... python tests/bench/label_errors.py [--points N] [--seeds N] [--fastdup] [--thresholds]

The sets are the first N test images of MNIST and CIFAR-10 in pixels, and those of CIFAR-10 as the 100 numbers before
the last layer of cifar10_resnet2b.pth, which was trained on other images. A share of the labels is replaced: "uniform"
by any other class, "confusion" by a class drawn from those that 10 nearest neighbours give the class's points by
mistake.

A cell has the AUC and the precision: how well a score ranks wrong labels above right ones, and the share of wrong
labels among as many of the most suspicious points as there are errors. They are means over the seeds of the noise;
points with equal scores count as if in random order.

r_same/r_other compares the nearest points, "dataset issues" the 5 nearest as the command does. cleanlab without
predictions is Datalab with features, which takes 10 nearest neighbours. With predictions it ranks by
self-confidence, of a logistic regression on 50 principal components, cross-validated in 5 parts, or of the network.
fastdup (--fastdup) looks at the images as PNG files, with features of its own; its label score is the share of a
point's 10 nearest neighbours that have its label.

--thresholds prints instead what other values of dataset issues --label-score would list of 2 % uniform noise, of one
seed: how many points, the share of them that is wrong, and the share of the errors that is among them.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.lib.evaluation import real

from datarobust.issues import NEIGHBOURS, label_scores
from datarobust.sensitivity import Labelled, rank

Array = npt.NDArray[Any]
SHARES = (0.01, 0.02, 0.05)
PEERS = 10  # neighbours that cleanlab and fastdup look at


@dataclass(frozen=True)
class Points:
    """One set, as distances see it."""

    name: str
    values: Array  # (N, D)
    labels: Array  # (N,) right ones
    probabilities: Array | None = None  # (N, C) of a network
    images: Array | None = None  # (N, H, W) or (N, H, W, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--fastdup", action="store_true")
    parser.add_argument("--thresholds", action="store_true")
    options = parser.parse_args()
    shared = os.environ.get("DATAROBUST_SHARED")
    if not shared:
        sys.exit("label_errors.py: set DATAROBUST_SHARED to the folder with data/ and models/")
    warnings.filterwarnings("ignore")
    if options.thresholds:
        thresholds(sets(Path(shared), options.points))
        return
    for points in sets(Path(shared), options.points):
        scorers: dict[str, Callable[[Array], Array]] = {
            "1/r": lambda labels, x=points: by_distance(x, labels)[0],
            "r_same/r_other": lambda labels, x=points: by_distance(x, labels)[1],
            "dataset issues": lambda labels, x=points: by_distance(x, labels, NEIGHBOURS)[1],
        }
        if importlib.util.find_spec("cleanlab") is not None:
            scorers["cleanlab, no predictions"] = lambda labels, x=points: datalab(x, labels)
            scorers["cleanlab, predictions"] = lambda labels, x=points: confident(x, labels)
        if options.fastdup and points.images is not None:
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # its signal handlers do not suit others
                nearest = pool.submit(fastdup_neighbours, points.images).result()
            scorers["fastdup"] = lambda labels, near=nearest: disagreement(near, labels)
        print(f"\n{points.name}, {len(points.labels):,} points:\n")
        table(points, scorers, options.seeds)


def sets(shared: Path, count: int) -> list[Points]:
    """The sets, read from the shared folder."""
    import torch

    digits, photos = (np.load(shared / "data" / f"{name}_test.npz") for name in ("mnist", "cifar10"))
    network, inner = real.resnet2b(shared), []
    network.linear2.register_forward_hook(lambda module, inputs, output: inner.append(inputs[0].numpy()))
    images = photos["x"][:count]
    with torch.no_grad():
        logits = network(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
    labels = [data["y"][:count].astype(np.int64) for data in (digits, photos)]
    return [
        Points("MNIST, pixels", digits["x"][:count].reshape(count, -1), labels[0], images=digits["x"][:count]),
        Points("CIFAR-10, pixels", images.reshape(count, -1), labels[1], images=images),
        Points("CIFAR-10, features", np.concatenate(inner), labels[1], logits.softmax(1).numpy()),
    ]


def noisy(points: Points, kind: str, share: float, seed: int) -> Array:
    """The labels with so many wrong ones."""
    random, labels, classes = np.random.default_rng(seed), points.labels.copy(), int(points.labels.max()) + 1
    wrong = random.choice(len(labels), round(share * len(labels)), replace=False)
    if kind == "uniform":
        labels[wrong] = (labels[wrong] + random.integers(1, classes, len(wrong))) % classes
        return labels
    from sklearn.neighbors import KNeighborsClassifier

    near = KNeighborsClassifier(PEERS).fit(points.values, labels).kneighbors(return_distance=False)
    given = np.array([np.bincount(labels[row], minlength=classes).argmax() for row in near])
    confused = np.zeros((classes, classes))
    np.add.at(confused, (labels, given), 1)
    confused += 1e-3
    np.fill_diagonal(confused, 0)
    for row in wrong:
        odds = confused[labels[row]]
        labels[row] = random.choice(classes, p=odds / odds.sum())
    return labels


def table(points: Points, scorers: dict[str, Callable[[Array], Array]], seeds: int) -> None:
    """Print a row for each kind and share of noise."""
    print(f"| noise | {' | '.join(scorers)} |")
    print("| --- " * (len(scorers) + 1) + "|")
    spent: defaultdict[str, list[float]] = defaultdict(list)
    for kind in ("uniform", "confusion"):
        for share in SHARES:
            cells = []
            drawn = [noisy(points, kind, share, seed) for seed in range(seeds)]
            for name, score in scorers.items():
                measured = []
                for labels in drawn:
                    began = time.perf_counter()
                    scores = score(labels)
                    spent[name].append(time.perf_counter() - began)
                    measured.append(quality(scores, labels != points.labels))
                area, precision = np.mean(measured, axis=0)
                cells.append(f"{area:.3f}, {precision:.0%}".replace("%", " %"))
            print(f"| {kind}, {share:.0%} | {' | '.join(cells)} |".replace("%", " %", 1), flush=True)
    print(f"| seconds | {' | '.join(f'{np.median(spent[name]):.2g}' for name in scorers)} |")


def thresholds(every: list[Points]) -> None:
    """Print a row for each least score, with what it lists of each set."""
    print(f"| least score | {' | '.join(points.name for points in every)} |")
    print("| --- " * (len(every) + 1) + "|")
    drawn = [(noisy(points, "uniform", 0.02, 0), points) for points in every]
    scored = [(by_distance(points, labels, NEIGHBOURS)[1], labels != points.labels) for labels, points in drawn]
    for least in (1.0, 1.1, 1.2, 1.3, 1.5, 2.0):
        cells = []
        for scores, wrong in scored:
            listed = scores >= least
            hits = (listed & wrong).sum()
            cells.append(f"{listed.sum():,}: {hits / max(1, listed.sum()):.0%}, {hits / wrong.sum():.0%}")
        print(f"| {least} | {' | '.join(cells)} |".replace("%", " %"), flush=True)


def quality(scores: Array, wrong: Array) -> tuple[float, float]:
    """AUC, and the precision among as many points as there are errors; equal scores in random order."""
    errors = int(wrong.sum())
    area = (rankdata(scores)[wrong].sum() - errors * (errors + 1) / 2) / (errors * (len(wrong) - errors))
    cut = np.sort(scores)[-errors]
    above, tied = scores > cut, scores == cut
    return area, (wrong[above].sum() + (errors - above.sum()) * wrong[tied].mean()) / errors


def by_distance(points: Points, labels: Array, k: int = 1) -> tuple[Array, Array]:
    """1/r and r_same/r_other, of k neighbours."""
    labelled = Labelled.of(points.values, labels)
    other, same = rank(labelled, "l2", k=k), rank(labelled, "l2", k=k, same=True)
    return other.sensitivity, label_scores(same.distance, other.distance)


def datalab(points: Points, labels: Array) -> Array:
    """What cleanlab makes of features alone."""
    from cleanlab import Datalab

    lab = Datalab({"y": labels}, label_name="y", task="classification", verbosity=0)
    lab.find_issues(features=points.values.astype(np.float64), issue_types={"label": {}})
    return -lab.get_issues("label")["label_score"].to_numpy()


def confident(points: Points, labels: Array) -> Array:
    """What cleanlab makes of predictions for points that the model has not seen."""
    from cleanlab.rank import get_label_quality_scores

    probabilities = points.probabilities
    if probabilities is None:
        from sklearn.decomposition import PCA
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import cross_val_predict

        reduced = PCA(50, random_state=0).fit_transform(points.values.astype(np.float32))
        reduced /= reduced.std()
        probabilities = cross_val_predict(
            LogisticRegression(max_iter=200), reduced, labels, cv=5, method="predict_proba"
        )
    return -np.asarray(get_label_quality_scores(labels, probabilities))


def fastdup_neighbours(images: Array) -> list[Array]:
    """The nearest images of each, by fastdup."""
    import fastdup
    import pandas as pd
    from PIL import Image

    os.dup2(2, 1)  # it prints much
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "images")
        folder.mkdir()
        for row, image in enumerate(images):
            Image.fromarray(image).convert("RGB").save(folder / f"{row:06d}.png")
        table = pd.DataFrame({"filename": [str(path) for path in sorted(folder.iterdir())], "label": "none"})
        run = fastdup.create(input_dir=str(folder), work_dir=str(Path(scratch, "work")))
        run.run(annotations=table, nearest_neighbors_k=PEERS, threshold=0.0, print_summary=False)
        pairs = run.similarity()
    near: list[list[int]] = [[] for _ in images]
    for one, other in zip(pairs["filename_from"], pairs["filename_to"], strict=True):
        near[int(Path(one).stem)].append(int(Path(other).stem))
    return [np.array(row, np.int64) for row in near]


def disagreement(near: list[Array], labels: Array) -> Array:
    """The share of neighbours with another label; 0 for a point without neighbours."""
    return np.array(
        [(labels[row] != label).mean() if len(row) else 0.0 for row, label in zip(near, labels, strict=True)]
    )


if __name__ == "__main__":
    main()
