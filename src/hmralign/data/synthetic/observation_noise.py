"""From true keypoints to what a detector reports: measured residuals, generic noise, failures.

`MeasuredNoise` replays whole residual vectors that the shipped detector made on renders of the body (tails and
correlations come along; independent Gaussians would have neither). `GenericNoise` stands for other detectors and for
annotators. `Failures` adds what renders of one whole person cannot show: hidden halves, truncation, other people's
limbs, sides exchanged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hmralign.body.npz_file import read_npz
from hmralign.body.skeleton import KEYPOINT_NAMES, MIRROR_KEYPOINTS, NUM_KEYPOINTS
from hmralign.storage.json_file import parse_json
from hmralign.structures import InputError, TensorRecord


def _named(*parts: str) -> list[int]:
    return [i for i, name in enumerate(KEYPOINT_NAMES) if any(p in name for p in parts)]


FEET = _named("toe", "heel")
KNUCKLES = _named("knuckle")
LEGS = _named("knee", "ankle", "toe", "heel")
ARMS = _named("elbow", "wrist", "knuckle")
LIMBS = [_named(f"{s}_elbow", f"{s}_wrist", f"{s}_index", f"{s}_pinky") for s in ("left", "right")] + [
    _named(f"{s}_knee", f"{s}_ankle", f"{s}_big", f"{s}_small", f"{s}_heel") for s in ("left", "right")
]
_CHAIN = {
    KEYPOINT_NAMES.index(f"{s}_{child}"): KEYPOINT_NAMES.index(f"{s}_{parent}")
    for s in ("left", "right")
    for child, parent in (("wrist", "elbow"), ("index_knuckle", "wrist"), ("pinky_knuckle", "wrist"),
                          ("ankle", "knee"), ("big_toe", "ankle"), ("small_toe", "ankle"), ("heel", "ankle"))
}  # fmt: skip


@dataclass(frozen=True)
class Reported(TensorRecord):
    """Keypoints as reported, in pixels, with confidence in [0, 1] (0: not observed)."""

    keypoints: Float[Tensor, "n 27 2"]
    confidence: Float[Tensor, "n 27"]


def body_height(keypoints: Float[Tensor, "n 27 2"]) -> Float[Tensor, " n"]:
    """Scale of the noise: the longer side of the box of all true keypoints, pixels."""
    return (keypoints.amax(1) - keypoints.amin(1)).amax(1)


def layout(keypoints: Float[Tensor, "n 27 2"]) -> Float[Tensor, "n 54"]:
    """Keypoints centred and scaled by `body_height`: which residuals fit a pose is decided by this."""
    centred = keypoints - (keypoints.amax(1, keepdim=True) + keypoints.amin(1, keepdim=True)) / 2
    return (centred / body_height(keypoints)[:, None, None]).flatten(1)


@dataclass(frozen=True)
class MeasuredNoise:
    """Residual vectors measured on renders, each with the layout it was measured at.

    `offsets` is the systematic part, metres in the axes of each keypoint's bone: what this detector calls a shoulder
    is not where our body has it. It is a property of the landmark, so it moves the truth and is not noise.
    """

    residuals: Float[Tensor, "entries 27 2"]
    confidence: Float[Tensor, "entries 27"]
    layouts: Float[Tensor, "entries 54"]
    offsets: Float[Tensor, "27 3"]
    sigma_bins: Float[Tensor, "27 bins"]

    def report(
        self, keypoints: Float[Tensor, "n 27 2"], generator: torch.Generator, *, candidates: int = 24
    ) -> Reported:
        """Add a residual vector measured at a similar layout: the nearest of a few random entries, seen or mirrored."""
        n = len(keypoints)
        flip = torch.rand(n, generator=generator) < 0.5
        wanted = layout(torch.where(flip[:, None, None], _mirrored(keypoints), keypoints))
        pick = torch.randint(len(self.residuals), (n, candidates), generator=generator)
        nearest = (self.layouts[pick] - wanted[:, None]).abs().sum(-1).argmin(1)
        entry = pick.gather(1, nearest[:, None])[:, 0]
        residual, confidence = self.residuals[entry], self.confidence[entry]
        residual = torch.where(flip[:, None, None], _mirrored(residual), residual)
        confidence = torch.where(flip[:, None], confidence[:, MIRROR_KEYPOINTS], confidence)
        return Reported(keypoints + residual * body_height(keypoints)[:, None, None], confidence)


def _mirrored(points: Float[Tensor, "n 27 2"]) -> Float[Tensor, "n 27 2"]:
    return points[:, MIRROR_KEYPOINTS] * torch.tensor([-1.0, 1.0])


NOISE_FORMAT = 1
_NOISE_SHAPES: dict[str, tuple[int, ...]] = {
    "residuals": (0, NUM_KEYPOINTS, 2),
    "confidence": (0, NUM_KEYPOINTS),
    "layouts": (0, 2 * NUM_KEYPOINTS),
    "offsets": (NUM_KEYPOINTS, 3),
    "sigma_bins": (NUM_KEYPOINTS, 5),
}
"""Arrays of a noise file in the order of `MeasuredNoise`; 0 stands for the number of entries."""


SHIPPED_NOISE = ("mediapipe", "mediapipe_heavy")
"""Detectors whose noise is shipped: mediapipe with the full weights of its landmark network, and with heavy ones."""


@lru_cache
def load_measured_noise(detector: str | Path = "mediapipe", *, photos: bool = True) -> MeasuredNoise:
    """The residuals shipped for a detector, or those of an npz file (`benchmarks/noise/detector_noise.py` makes one).

    A file is read once per process. Raises InputError when none were measured, or the file is missing or wrong.

    With `photos`, the offsets of heads and shoulders are those of real people, where they were measured: painted faces
    on renders are read differently (docs/results/landmark_offsets.md).
    """
    if str(detector).endswith(".npz"):
        return _read_noise_file(Path(detector))
    path = Path(str(files("hmralign.data.synthetic"))) / "assets" / f"{detector}_noise.npz"
    if not path.is_file():
        raise InputError(f"no measured noise is shipped for the detector '{detector}'")
    noise = _read_noise_file(path)
    return replace(noise, offsets=_photo_offsets(str(detector), noise.offsets)) if photos else noise


def _read_noise_file(path: Path) -> MeasuredNoise:
    """Noise of a detector, every array checked."""
    try:
        data = read_npz(path, ("format_version", *_NOISE_SHAPES))
    except InputError as error:
        raise InputError(f"no readable file of measured noise: {error}") from error
    if wrong := [name for name, array in data.items() if array.dtype.kind not in "iuf"]:
        raise InputError(f"'{path}': {wrong[0]} are of type {data[wrong[0]].dtype}, expected numbers")
    arrays = {name: data[name].astype(np.float32) for name in _NOISE_SHAPES}
    if data["format_version"].size != 1 or int(data["format_version"].item()) > NOISE_FORMAT:
        raise InputError(f"'{path}' was made by a newer hmralign; expected format {NOISE_FORMAT}")
    entries = len(np.atleast_1d(arrays["residuals"]))
    for name, shape in _NOISE_SHAPES.items():
        wanted = tuple(size or entries for size in shape)
        if entries == 0 or arrays[name].shape != wanted or not np.isfinite(arrays[name]).all():
            raise InputError(f"'{path}': {name} are not finite numbers of shape {wanted}")
    return MeasuredNoise(*(torch.from_numpy(arrays[name]) for name in _NOISE_SHAPES))


def _photo_offsets(detector: str, offsets: Float[Tensor, "27 3"]) -> Float[Tensor, "27 3"]:
    path = files("hmralign.data.synthetic") / "assets" / f"{detector}_photo_offsets.json"
    if not path.is_file():
        return offsets
    out = offsets.clone()
    for name, offset in parse_json(path.read_bytes())["offsets"].items():
        out[KEYPOINT_NAMES.index(name)] = torch.tensor(offset)
    return out


@dataclass(frozen=True)
class GenericNoise:
    """Heavy-tailed noise correlated along limbs; sizes in shares of the body's height."""

    scale: tuple[float, float] = (0.004, 0.03)
    """Log-uniform typical error: careful annotator to poor detector."""
    tail: float = 3.0
    """Degrees of freedom of the Student-t tails."""
    along_limb: float = 0.6
    """Share of a joint's error handed to the next one of the limb."""

    def report(self, keypoints: Float[Tensor, "n 27 2"], generator: torch.Generator) -> Reported:
        """Noisy keypoints whose confidence falls with their error size, not with the error itself."""
        n = len(keypoints)
        low, high = (math.log(s) for s in self.scale)
        scale = torch.exp(low + (high - low) * torch.rand(n, 1, generator=generator))
        # Chi-square by Wilson-Hilferty keeps every draw on the generator.
        z = torch.randn(n, NUM_KEYPOINTS, generator=generator)
        chi2 = (1 - 2 / (9 * self.tail) + z * (2 / (9 * self.tail)) ** 0.5).clamp(min=0.15) ** 3
        size = scale / chi2.sqrt()
        noise = size[..., None] * torch.randn(n, NUM_KEYPOINTS, 2, generator=generator)
        for child, parent in _CHAIN.items():
            noise[:, child] = noise[:, child] + self.along_limb * noise[:, parent]
        spoil = 0.25 * torch.rand(n, NUM_KEYPOINTS, generator=generator)
        confidence = (1.0 - 6.0 * size - spoil).clamp(0.05, 1.0)
        certain = torch.rand(n, generator=generator) < 0.3  # annotators give no confidence
        confidence = torch.where(certain[:, None], torch.ones_like(confidence), confidence)
        return Reported(keypoints + noise * body_height(keypoints)[:, None, None], confidence)


@dataclass(frozen=True)
class Failures:
    """Probabilities of what goes wrong beyond noise, per person unless said otherwise."""

    hidden_below: float = 0.18
    """A horizontal or slanted occluder hides everything below a line."""
    hidden_limb: float = 0.12
    """Each of the four limbs, with half this probability, is hidden: it vanishes or is guessed, hardly confident."""
    dropped: float = 0.03
    """Each keypoint vanishes with this probability."""
    no_feet: float = 0.3
    """The convention has no foot points."""
    no_knuckles: float = 0.3
    """The convention has no knuckles."""
    wrong_person: float = 0.02
    """Each of the four limbs, with half this probability, is somebody else's."""
    swap_all: float = 0.02
    """All sides exchanged."""
    swap_legs: float = 0.025
    """Legs exchanged."""
    swap_arms: float = 0.013
    """Arms exchanged."""

    def apply(self, reported: Reported, generator: torch.Generator) -> Reported:
        """Spoil reports, each failure independently."""
        keypoints, confidence = reported.keypoints.clone(), reported.confidence.clone()
        n = len(keypoints)

        def draw(p: float) -> Bool[Tensor, " n"]:
            return torch.rand(n, generator=generator) < p

        height = body_height(keypoints)
        self._hide_below(keypoints, confidence, draw(self.hidden_below), height, generator)
        for limb in LIMBS:
            hidden = draw(self.hidden_limb / len(LIMBS) * 2)
            guess = 0.06 * height[:, None, None] * torch.randn(n, len(limb), 2, generator=generator)
            seen = draw(0.5)
            keypoints[:, limb] = torch.where(hidden[:, None, None], keypoints[:, limb] + guess, keypoints[:, limb])
            low = confidence[:, limb] * 0.4 * torch.rand(n, 1, generator=generator) * seen[:, None]
            confidence[:, limb] = torch.where(hidden[:, None], low, confidence[:, limb])
            wrong = draw(self.wrong_person / len(LIMBS) * 2)
            away = 0.3 * height[:, None, None] * torch.randn(n, 1, 2, generator=generator)
            keypoints[:, limb] = torch.where(wrong[:, None, None], keypoints[:, limb] + away, keypoints[:, limb])
        everything = list(range(NUM_KEYPOINTS))
        for part, share in ((everything, self.swap_all), (LEGS, self.swap_legs), (ARMS, self.swap_arms)):
            other = [MIRROR_KEYPOINTS[k] for k in part]
            swapped = draw(share)
            keypoints[:, part] = torch.where(swapped[:, None, None], keypoints[:, other], keypoints[:, part])
            confidence[:, part] = torch.where(swapped[:, None], confidence[:, other], confidence[:, part])
        for part, share in ((FEET, self.no_feet), (KNUCKLES, self.no_knuckles)):
            confidence[:, part] = confidence[:, part] * ~draw(share)[:, None]
        lost = torch.rand(confidence.shape, generator=generator) < self.dropped
        return Reported(keypoints, confidence.masked_fill(lost, 0.0))

    @staticmethod
    def _hide_below(
        keypoints: Tensor, confidence: Tensor, chosen: Tensor, height: Tensor, generator: torch.Generator
    ) -> None:
        """Slanted line across the body; what lies below vanishes, or is invented near its true place."""
        n = len(keypoints)
        top, bottom = keypoints[..., 1].amin(1), keypoints[..., 1].amax(1)
        level = top + (0.25 + 0.7 * torch.rand(n, generator=generator)) * (bottom - top)
        slope = 0.2 * torch.randn(n, generator=generator)
        middle = keypoints[..., 0].mean(1, keepdim=True)
        below = keypoints[..., 1] > level[:, None] + slope[:, None] * (keypoints[..., 0] - middle)
        hidden = below & chosen[:, None]
        invented = torch.rand(n, generator=generator) < 0.4
        guess = 0.07 * height[:, None, None] * torch.randn(keypoints.shape, generator=generator)
        keypoints += torch.where(hidden[..., None], guess, torch.zeros(()))
        factor = torch.where(invented[:, None], 0.4 * torch.rand(confidence.shape, generator=generator), 0.0)
        confidence *= torch.where(hidden, factor, 1.0)
