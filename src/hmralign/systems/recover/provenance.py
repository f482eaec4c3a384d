"""Where a result comes from: versions, hashes and settings, the same in every output file."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from hmralign import __version__
from hmralign.body.model import BodyModel
from hmralign.systems.recover.people import RecoverConfig

FORMAT_VERSION = 1
"""Version of the output folder: `photo.json`, `summary.json` and `hypotheses.npz`."""

_LIBRARIES = ("torch", "numpy", "warp-lang", "roma", "pillow", "safetensors")


@dataclass(frozen=True)
class BodyIdentity:
    """Name and hashes of a body."""

    name: str
    skeleton_hash: str
    mesh_hash: str

    @staticmethod
    def of(body: BodyModel) -> BodyIdentity:
        """Identity of a loaded body."""
        return BodyIdentity(body.name, body.skeleton_hash, body.mesh_hash)


@dataclass(frozen=True)
class Provenance:
    """What made a result. Hashes are SHA-256; `detector_versions` are those of the libraries behind the detector.

    `body` is the one that is handed out, `estimated_on` the one that the weights know. Where their skeletons differ the
    result is retargeted.
    """

    checkpoint: str
    checkpoint_hash: str
    body: BodyIdentity
    estimated_on: BodyIdentity
    detector: str
    config: RecoverConfig
    device: str = "cpu"
    detector_versions: Mapping[str, str] = field(default_factory=dict)
    runtime: str = "torch"
    """What computed the networks."""

    @property
    def retargeted(self) -> bool:
        """Whether bodies were estimated on another skeleton than theirs."""
        return self.body.skeleton_hash != self.estimated_on.skeleton_hash

    def record(self) -> dict[str, Any]:
        """As nested plain values, with the versions in use."""
        return {
            "checkpoint": {"name": self.checkpoint, "sha256": self.checkpoint_hash},
            "body": asdict(self.body),
            "retargeted": self.retargeted,
            "estimated_on": asdict(self.estimated_on),
            "detector": {"name": self.detector, "versions": dict(self.detector_versions)},
            "config": asdict(self.config),
            "device": self.device,
            **({} if self.runtime == "torch" else {"runtime": self.runtime}),  # results of before say nothing of it
            "versions": library_versions(("onnxruntime",) if self.runtime == "onnx" else ()),
        }

    def fingerprint(self, *inputs: str) -> str:
        """One hash of all that decides the answer: settings, weights, body, and the given inputs."""
        decisive = {k: v for k, v in self.record().items() if k not in ("versions", "device")}
        decisive["detector"] = self.detector
        text = json.dumps([__version__, decisive, list(inputs)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def library_versions(more: Sequence[str] = ()) -> dict[str, str]:
    """hmralign, Python and the libraries that decide numbers, and `more` of them."""
    found = {name: _installed(name) for name in (*_LIBRARIES, *more)}
    return {"hmralign": __version__, "python": platform.python_version(), **found}


@cache
def _installed(name: str) -> str:
    """Read once: it is a file that is parsed, and what a process has imported stays."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def digest(value: str | Path | np.ndarray | float | None) -> str:
    """Hash of an input: of a file's bytes, an array's numbers, or a number; a folder counts by its path and time."""
    if value is None:
        return "none"
    if isinstance(value, np.ndarray):
        said = hashlib.sha256(f"{value.shape} {value.dtype}".encode())
        said.update(np.ascontiguousarray(value).data)
        return said.hexdigest()
    if isinstance(value, float | int):
        content = repr(float(value)).encode()
    elif Path(value).is_file():
        content = Path(value).read_bytes()
    else:
        folder = Path(value)
        content = f"{folder.resolve()} {folder.stat().st_mtime_ns if folder.exists() else 0}".encode()
    return hashlib.sha256(content).hexdigest()
