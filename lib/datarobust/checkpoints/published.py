"""Published networks that ``model fetch`` knows: where they are, under which licence, and what their bytes are.

The addresses are those that the authors state: of Inception in pytorch-fid, of EDM in the README of NVlabs/edm, of Wang
et al. 2023 in the README of wzekai99/DM-Improves-AT, of Gowal et al. 2020 and Rebuffi et al. 2021 in the README of
adversarial_robustness in google-deepmind/deepmind-research. RobustBench has the last three under its own names, but on
Google Drive, which sends web pages in place of large files.

Only Inception has a published sha256. Of the others the user states it, or says that he does without.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from datarobust.checkpoints.torchfiles import INCEPTION_FILE
from datarobust.datasets.fetch import Remote, Transport, fetch_file
from datarobust.errors import UsageError
from datarobust.text import shown
from datarobust.types import Progress

FOLDER = "models"  # of the cache


@dataclass(frozen=True)
class Network:
    """A published network."""

    name: str  # as ``model fetch`` calls it
    title: str
    licence: str
    remote: Remote


_EDM = "https://nvlabs-fi-cdn.nvidia.com/edm/pretrained/"
_WANG = "https://huggingface.co/wzekai99/DM-Improves-AT/resolve/main/"
_DEEPMIND = "https://storage.googleapis.com/dm-adversarial-robustness/"

# paper -> authors, licence, folder of the files
_PAPERS = {
    "wang2023": ("Wang et al. 2023", "MIT (the repository DM-Improves-AT)", f"{_WANG}checkpoint/"),
    "gowal2020": ("Gowal et al. 2020", "Apache 2.0 (the repository deepmind-research)", _DEEPMIND),
    "rebuffi2021": ("Rebuffi et al. 2021", "Apache 2.0 (the repository deepmind-research)", _DEEPMIND),
}
# paper, file DATASET_NORM_NETWORK[...].pt, RobustBench's name
_CLASSIFIERS = """
wang2023    cifar10_linf_wrn28-10                 Wang2023Better_WRN-28-10
wang2023    cifar10_linf_wrn70-16                 Wang2023Better_WRN-70-16
wang2023    cifar10_l2_wrn28-10                   Wang2023Better_WRN-28-10
wang2023    cifar10_l2_wrn70-16                   Wang2023Better_WRN-70-16
wang2023    cifar100_linf_wrn28-10                Wang2023Better_WRN-28-10
wang2023    cifar100_linf_wrn70-16                Wang2023Better_WRN-70-16
gowal2020   cifar10_linf_wrn70-16_with            Gowal2020Uncovering_70_16_extra
gowal2020   cifar10_linf_wrn28-10_with            Gowal2020Uncovering_28_10_extra
gowal2020   cifar10_linf_wrn70-16_without         Gowal2020Uncovering_70_16
gowal2020   cifar10_linf_wrn34-20_without         Gowal2020Uncovering_34_20
gowal2020   cifar10_l2_wrn70-16_with              Gowal2020Uncovering_extra
gowal2020   cifar10_l2_wrn70-16_without           Gowal2020Uncovering
gowal2020   cifar100_linf_wrn70-16_with           Gowal2020Uncovering_extra
gowal2020   cifar100_linf_wrn70-16_without        Gowal2020Uncovering
rebuffi2021 cifar10_linf_wrn106-16_cutmix_ddpm_v2 Rebuffi2021Fixing_106_16_cutmix_ddpm
rebuffi2021 cifar10_linf_wrn70-16_cutmix_ddpm_v2  Rebuffi2021Fixing_70_16_cutmix_ddpm
rebuffi2021 cifar10_linf_wrn28-10_cutmix_ddpm_v2  Rebuffi2021Fixing_28_10_cutmix_ddpm
rebuffi2021 cifar10_l2_wrn70-16_cutmix_ddpm_v2    Rebuffi2021Fixing_70_16_cutmix_ddpm
rebuffi2021 cifar10_l2_wrn28-10_cutmix_ddpm_v2    Rebuffi2021Fixing_28_10_cutmix_ddpm
rebuffi2021 cifar100_linf_wrn70-16_cutmix_ddpm    Rebuffi2021Fixing_70_16_cutmix_ddpm
rebuffi2021 cifar100_linf_wrn28-10_cutmix_ddpm    Rebuffi2021Fixing_28_10_cutmix_ddpm
"""


def _networks() -> Iterator[Network]:
    title, licence = "the network of the FID, converted by pytorch-fid", "Apache 2.0 (pytorch-fid)"
    yield Network("inception", title, licence, INCEPTION_FILE)
    denoisers = [
        (f"edm-{data}-{form}", "Karras et al. 2022", _EDM)
        for data in ("cifar10-32x32-cond", "cifar10-32x32-uncond", "ffhq-64x64-uncond", "afhqv2-64x64-uncond")
        for form in ("vp", "ve")
    ]
    wang = [(f"edm-{data}-32x32-cond-vp", "Wang et al. 2023", f"{_WANG}others/") for data in ("cifar100", "svhn")]
    for name, authors, folder in denoisers + wang:
        remote = Remote(f"{name}.pkl", (f"{folder}{name}.pkl",))
        yield Network(name, f"denoiser of EDM by {authors}, for clone", "CC BY-NC-SA 4.0", remote)
    for paper, name, robustbench in (line.split() for line in _CLASSIFIERS.strip().splitlines()):
        authors, licence, folder = _PAPERS[paper]
        dataset, norm, network, *rest = name.split("_")
        extra = "-extra" if rest == ["with"] else ""  # whether the training set was larger
        title = f"classifier of {authors}; in RobustBench {dataset} {norm} {robustbench}"
        remote = Remote(f"{name}.pt", (f"{folder}{name}.pt",))
        yield Network(f"{paper}-{dataset}-{norm}-{network}{extra}", title, licence, remote)


NETWORKS: Mapping[str, Network] = {network.name: network for network in _networks()}


def find_network(name: str) -> Network:
    """The network of this name. Raises UsageError with names like it where there is none."""
    if name in NETWORKS:
        return NETWORKS[name]
    word = name.lower()
    near = [known for known in NETWORKS if word in known or f" {word}" in NETWORKS[known].title.lower()][:3]
    near = near or difflib.get_close_matches(word, NETWORKS, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else "model fetch `list` shows all."
    raise UsageError(f"{shown(name)} is not the name of a network to fetch: {hint}")


def fetch_network(
    network: Network, cache: Path, transport: Transport, sha256: str | None, unverified: bool, progress: Progress = iter
) -> Path:
    """The file of a network, fetched into ``cache`` unless it is there.

    It has the published sha256, else ``sha256``; where there is neither, ``unverified`` takes what comes. Raises
    UsageError where these do not go together.
    """
    remote, name = network.remote, network.name
    if unverified and (remote.sha256 or sha256):
        raise UsageError(f"the sha256 of {name} is known: leave out `unverified`")
    if sha256 is not None and remote.sha256 not in ("", sha256):
        raise UsageError(f"the published sha256 of {name} is {remote.sha256}: leave out `sha256`")
    if not (remote.sha256 or sha256 or unverified):
        raise UsageError(
            f"no sha256 of {remote.name} is published: give one that you trust with `sha256`, or accept the file that "
            "comes with `unverified`, which reports its sha256"
        )
    return fetch_file(
        replace(remote, sha256=remote.sha256 or sha256 or ""), cache / FOLDER, transport, progress=progress
    )
