"""Whether a person's left and right were read the wrong way round, from the keypoints alone.

A body seen from behind and taken for one seen from the front has the keypoints of a body whose sides are exchanged, so
the question is which of two sets of keypoints is the likelier body: as read, or with all sides exchanged. One network
gives each set a number; their difference is the log odds of an exchange. Exchanging the sides therefore turns the sign,
and a mirrored photo gives the same answer, both by construction:

    logit(k) = scale * (f(exchanged k) + f(mirrored exchanged k) - f(k) - f(mirrored k))

at even odds; how often a detector exchanges sides is added by whoever knows the detector.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hmralign.body.skeleton import KEYPOINT_NAMES, MIRROR_KEYPOINTS, NUM_KEYPOINTS
from hmralign.models.checkpoint import header_values, opened_weights, require_known_fields, sources_of, write_weights
from hmralign.models.context import FEATURES, ResidualMlp, keypoint_features
from hmralign.models.fitted_weights import fitted
from hmralign.models.limb_features import LIMB_FEATURES, limb_features
from hmralign.models.person_frame import person_frame
from hmralign.models.weight_count import asked_for, count_of, require_weights
from hmralign.structures import InputError, Observation
from hmralign.structures.errors import shown

FORMAT_VERSION = 1

SHIPPED_GATE = "sides"
"""Name of the gate that comes with the package."""

_LARGEST = 4096
FACE = tuple(i for i, name in enumerate(KEYPOINT_NAMES) if name.endswith(("nose", "eye", "ear")))


@dataclass(frozen=True)
class SideGateConfig:
    """Size of the network."""

    width: int = 160
    """Channels."""
    depth: int = 2
    """Residual blocks."""


def exchanged_sides(observation: Observation) -> Observation:
    """The same persons with left and right of every keypoint exchanged; places, box and mask stay."""
    swap = list(MIRROR_KEYPOINTS)
    return replace(
        observation, keypoints=observation.keypoints[..., swap, :], confidence=observation.confidence[..., swap]
    )


def side_features(observation: Observation) -> Float[Tensor, "*batch features"]:
    """What the network sees of persons: their keypoints in the person frame, neither mask nor picture."""
    return keypoint_features(observation, person_frame(observation)).vector


def _turned(vector: Float[Tensor, "*batch features"], *, exchange: bool, mirror: bool) -> Tensor:
    """Features with sides exchanged, or of the mirror image, or both (which leaves every keypoint its name)."""
    count = NUM_KEYPOINTS * 4
    points = vector[..., :count].unflatten(-1, (NUM_KEYPOINTS, 4))
    if exchange != mirror:
        points = points[..., list(MIRROR_KEYPOINTS), :]
    if mirror:
        points = points * torch.tensor([-1.0, 1.0, 1.0, 1.0], device=vector.device)
    return torch.cat([points.flatten(-2), vector[..., count:]], -1)


class SideGateNetwork(nn.Module):
    """Keypoint features -> how far they look like a body, for comparison with the same ones otherwise named."""

    def __init__(self, config: SideGateConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Linear(FEATURES + LIMB_FEATURES, config.width)
        self.blocks = nn.Sequential(*(ResidualMlp(config.width, 2 * config.width) for _ in range(config.depth)))
        self.norm = nn.LayerNorm(config.width)
        self.out = nn.Linear(config.width, 1)

    def plausibility(self, vector: Float[Tensor, "*batch features"]) -> Float[Tensor, "*batch"]:
        """The number that is compared."""
        points = vector[..., : NUM_KEYPOINTS * 4].unflatten(-1, (NUM_KEYPOINTS, 4))
        limbs = limb_features(points[..., :2], points[..., 2])
        return self.out(self.norm(self.blocks(self.embed(torch.cat([vector, limbs], -1)))))[..., 0]

    def difference(self, vector: Float[Tensor, "*batch features"]) -> Float[Tensor, "*batch"]:
        """How much more the keypoints look like a body with their sides exchanged: what is trained."""
        exchanged, as_read = self.plausibility(torch.stack([_turned(vector, exchange=True, mirror=False), vector]))
        return exchanged - as_read

    def forward(self, vector: Float[Tensor, "*batch features"]) -> Float[Tensor, "*batch"]:
        """Log odds, not calibrated, that all sides are exchanged, at even odds before looking."""
        return self.difference(vector) + self.difference(_turned(vector, exchange=False, mirror=True))


@dataclass(frozen=True)
class SideGate:
    """A network and the number that makes its output honest."""

    network: SideGateNetwork
    scale: float = 1.0
    """What the output is multiplied by: fitted on persons that training has not seen."""
    limit: float = 5.0
    """Log odds are never beyond this: keypoints unlike all that was learned must not decide alone."""
    trained_on: tuple[str, ...] = ()

    @torch.no_grad()
    def __call__(self, observation: Observation) -> Float[Tensor, "*batch"]:
        """Log odds that all sides of persons are exchanged, at even odds before looking; 0 where nothing was seen."""
        logit = (self.scale * self.network(side_features(observation))).clamp(-self.limit, self.limit)
        return torch.where((observation.confidence > 0).any(-1), logit, 0.0)


def save_side_gate(path: str | Path, gate: SideGate, skeleton_hash: str, *, half: bool = True) -> Path:
    """Write atomically. Raises InputError for weights that are not finite as stored."""
    header = {
        "format_version": str(FORMAT_VERSION),
        "kind": "side_gate",
        "config": json.dumps(asdict(gate.network.config)),
        "calibration": json.dumps({"scale": gate.scale, "limit": gate.limit}),
        "skeleton_hash": skeleton_hash,
        "trained_on": json.dumps(list(gate.trained_on)),
    }
    return write_weights(Path(path), gate.network.state_dict(), header, half=half)


def side_gate_path(name_or_path: str | Path) -> Path:
    """Where a gate lies: the shipped one by its name "sides", anything else by path."""
    if str(name_or_path) == SHIPPED_GATE:
        return Path(str(files("hmralign.models") / "weights" / f"{SHIPPED_GATE}.safetensors"))
    return Path(name_or_path)


@lru_cache(maxsize=4)
def shipped_side_gate() -> SideGate:
    """The gate that comes with the package, read once per process."""
    return load_side_gate(SHIPPED_GATE)


def load_side_gate(name_or_path: str | Path) -> SideGate:
    """Read a gate in eval mode and float32.

    Keypoints are the same for every body, so a gate serves all; the skeleton of the bodies it learned from is in the
    header. Raises InputError, naming the file, when it is missing, damaged, of a newer format or of another kind, or
    when its weights do not fit or are not finite.
    """
    path = side_gate_path(name_or_path)
    with opened_weights(path, (SHIPPED_GATE,)) as handle:
        header = handle.metadata() or {}
        tensors = {name: handle.get_tensor(name).float() for name in handle.keys()}
    if header.get("format_version") != str(FORMAT_VERSION):
        raise InputError(f"{path}: gate format {header.get('format_version')}, this program reads {FORMAT_VERSION}")
    if header.get("kind") != "side_gate":
        raise InputError(f"{path}: holds a model of kind '{header.get('kind')}', expected 'side_gate'")
    config = _config(path, header.get("config", ""))
    require_weights(path, count_of(tensors), asked_for(SideGateNetwork, config, ("depth",)))
    network = fitted(path, lambda: SideGateNetwork(config), tensors)
    scale, limit = (_positive(path, header.get("calibration", ""), name) for name in ("scale", "limit"))
    return SideGate(network, scale, limit, sources_of(path, header))


def _config(path: Path, text: str) -> SideGateConfig:
    """Configuration of the header. Nothing in it is trusted."""
    values = header_values(path, text, "configuration")
    require_known_fields(path, SideGateConfig, values)
    for name, value in values.items():
        if not (type(value) is int and 1 <= value <= _LARGEST):
            raise InputError(f"{path}: configuration says {name} = {shown(repr(value))}, expected 1..{_LARGEST}")
    return SideGateConfig(**values)


def _positive(path: Path, text: str, name: str) -> float:
    value = header_values(path, text, "calibration").get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise InputError(f"{path}: its calibration says {name} = {shown(repr(value))}, expected a positive number")
    return float(value)
