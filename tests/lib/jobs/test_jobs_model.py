"""Published checkpoints as artifacts: which reader takes a file, and what makes a request the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.lib.checkpoints import pickling

from datarobust import artifacts
from datarobust.artifacts import Step
from datarobust.errors import ExistsError, UsageError
from datarobust.jobs.make import make
from datarobust.jobs.model import is_bare_pickle, read_published, summary
from datarobust.networks import build


def step(inputs: dict[str, str]) -> Step:
    return Step("model", (), "0", None, None, inputs)


def saved(path: Path, *, legacy: bool = False) -> Path:
    torch.save(build({"name": "wrn-10-1"}).state_dict(), path, _use_new_zipfile_serialization=not legacy)
    return path


def test_a_file_is_read_by_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "edm.pkl").write_bytes(pickling.dump(pickling.checkpoint(pickling.small())))
    denoiser = read_published(tmp_path / "edm.pkl")
    assert (denoiser.kind, denoiser.decides["weights"]) == ("denoiser", "last")
    assert ["loss_fn" in remark for remark in denoiser.remarks] == [True, False]
    for legacy in (False, True):
        path = saved(tmp_path / "m.pt", legacy=legacy)
        assert not is_bare_pickle(path)
        assert read_published(path).kind == "classifier"
    with pytest.raises(UsageError, match="bare pickle"):
        summary(tmp_path / "edm.pkl")


def test_the_same_request_is_made_once(tmp_path: Path) -> None:
    path, output = saved(tmp_path / "weights-last.pt"), tmp_path / "m.safetensors"
    job = read_published(path)
    assert set(job.request()) == {"tool", "arch", "weights", "averaged", "source"}
    assert make(job, output, step)
    assert not make(read_published(path), output, step)
    assert artifacts.peek(output).attributes["weights"] == "last"
    assert artifacts.peek(output).history[-1].inputs == {"source": job.decides["source"]}
    with pytest.raises(ExistsError):
        make(read_published(path, weights="best"), output, step)
    assert make(read_published(path, weights="best"), output, step, overwrite=True)
    with pytest.raises(UsageError, match="`normalise`"):
        summary(output, "cifar10")
