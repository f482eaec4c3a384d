"""Synthetic persons who move before one camera: what an unlabelled video records around an instant.

The middle frame is a person of the source as any photo shows one. The other frames are the same person moved as
somebody of a pose file moved: each joint turns by what it turned there, so that any pose has a motion, at the price
that it is not one that was ever captured in this pose. Whoever moves also goes along, at a constant velocity over the
ground. Occluders, exchanged sides and the convention of the keypoints stay as they are in the middle frame; the
detector's error of each keypoint is forgotten with a time constant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.lbs import rest_joints
from hmralign.data.keypoint_box import MIN_CONFIDENCE
from hmralign.data.pose_clips import Stretches
from hmralign.data.synthetic.generator import Generator
from hmralign.data.synthetic.observation_noise import MeasuredNoise, Reported, body_height
from hmralign.data.synthetic.views import Views, sample_views
from hmralign.structures import BodyParams, Example, InputError, TensorRecord
from hmralign.structures.counted import counted


@dataclass(frozen=True)
class ClipConfig:
    """How persons are filmed."""

    seconds: tuple[float, ...]
    """Time of each frame from the middle one, growing; 0 is among them."""
    noise_seconds: float = 0.15
    """Time in which a detector's error is forgotten to e^-1; it is what frames of one clip share."""
    speed: float = 0.5
    """Standard deviation of the velocity over the ground along each axis, metres per second."""
    captured: bool = False
    """Poses are those of the clips themselves instead of the source's."""

    @property
    def middle(self) -> int:
        """Number of the middle frame. Raises InputError for times that do not grow or have no 0."""
        times = self.seconds
        if 0.0 not in times or any(b <= a for a, b in pairwise(times)):
            raise InputError(f"the frames are at {times} seconds; expected growing times with 0 among them")
        return times.index(0.0)


@dataclass(frozen=True)
class ClipPersons(TensorRecord):
    """Persons, each in as many frames; annotations are in the camera's frame."""

    frames: Example
    """Axes (person, frame)."""
    up: Float[Tensor, "person 3"]
    """Away from the ground in the `cam` frame, unit: the same in all frames."""


def sample_clips(
    source: Generator, stretches: Stretches, config: ClipConfig, count: int, generator: torch.Generator
) -> ClipPersons:
    """`count` persons; `stretches` has a frame for each time of `config`.

    Persons who are hardly seen in the middle frame, or reach behind the camera in any, are replaced by others. Raises
    InputError for no persons, times without a middle, and a source whose detector noise was not measured.
    """
    middle = config.middle
    if count < 1:
        raise InputError(f"{count} persons were asked for; expected at least one")
    if source.noise is None or source.mix.measured_share < 1:
        raise InputError("clips need a source that reports with measured noise alone; expected the wild world")
    index = torch.randint(len(stretches), (count,), generator=generator)
    turns = stretches.turns(index)
    if turns.shape[1] != len(config.seconds):
        frames, times = counted(turns.shape[1], "frame"), counted(len(config.seconds), "time")
        raise InputError(f"the motions have {frames} for {times}; expected as many")
    body_pose, up = source.poses.sample(count, generator)
    if config.captured:
        own = stretches.clips.rotmats[stretches.middle[index]]
        body_pose, up = own[:, 1:], own[:, 0, 1]
    views = sample_views(up, source.mix.views, generator)
    betas = source.mix.beta_sd * torch.randn(count, source.model.num_betas, generator=generator).clamp(-3, 3)
    stretched = source.mix.proportions.stretch(rest_joints(source.model, betas), generator)
    up_cam = (views.global_orient @ up[..., None])[..., 0]
    walk = config.speed * torch.randn(count, 3, generator=generator)
    walk = walk - (walk * up_cam).sum(-1, keepdim=True) * up_cam
    still = BodyParams(views.global_orient, body_pose, betas, views.transl)
    frames = [
        replace(_turned(still, turns[:, frame]), transl=still.transl + seconds * walk)
        for frame, seconds in enumerate(config.seconds)
    ]
    seen = _filmed(source, source.noise, frames, stretched, views, config, generator)
    kept = _well_seen(seen, middle, source.mix.min_keypoints, generator)
    return ClipPersons(seen[kept], up_cam[kept])


def _turned(body: BodyParams, turns: Float[Tensor, "n 24 3 3"]) -> BodyParams:
    return replace(body, global_orient=body.global_orient @ turns[:, 0], body_pose=body.body_pose @ turns[:, 1:])


def _filmed(
    source: Generator,
    noise: MeasuredNoise,
    frames: list[BodyParams],
    stretched: Float[Tensor, "n 29 3"],
    views: Views,
    config: ClipConfig,
    generator: torch.Generator,
) -> Example:
    """What is reported of every frame, axes (person, frame)."""
    marks = [source.landmarks(body, stretched, views)[:2] for body in frames]
    fresh = [noise.report(offset, generator) for _, offset in marks]
    away = [(r.keypoints - o) / body_height(o)[:, None, None] for r, (_, o) in zip(fresh, marks, strict=True)]
    away = _remembered(away, config)
    # One seed for all frames: what hides a person stays where it is, and so do the camera and the convention.
    seed = int(torch.randint(2**31 - 1, (1,), generator=generator))
    nobody = torch.zeros(len(stretched), dtype=torch.bool)
    examples = []
    for body, (plain, offset), report, error in zip(frames, marks, fresh, away, strict=True):
        same = torch.Generator().manual_seed(seed)
        found = Reported(offset + error * body_height(offset)[:, None, None], report.confidence)
        found = source.mix.failures.apply(found, same)
        examples.append(source.example(body, plain, found, views, nobody, same))
    return Example.stack(examples, 1)


def _remembered(fresh: list[Float[Tensor, "n 27 2"]], config: ClipConfig) -> list[Tensor]:
    """Errors that frames share with their neighbours, of the size of the fresh ones (a chain from the middle)."""
    away, middle = list(fresh), config.middle
    for step in (1, -1):
        frame = middle + step
        while 0 <= frame < len(away):
            apart = abs(config.seconds[frame] - config.seconds[frame - step])
            kept = math.exp(-apart / config.noise_seconds) if config.noise_seconds > 0 else 0.0
            away[frame] = kept * away[frame - step] + math.sqrt(1 - kept**2) * fresh[frame]
            frame += step
    return away


def _well_seen(seen: Example, middle: int, min_keypoints: int, generator: torch.Generator) -> Tensor:
    """Numbers of persons, with others in place of those who cannot be used."""
    assert seen.annotation is not None
    good = (seen.observation.confidence[:, middle] > MIN_CONFIDENCE).sum(-1) >= min_keypoints
    good &= (seen.annotation.joints[..., 2] > 0.25).flatten(1).all(-1)
    if not good.any():
        raise InputError("no person of the clips is seen in the middle frame; expected more persons")
    index = torch.arange(len(good))
    spare = good.nonzero()[:, 0]
    index[~good] = spare[torch.randint(len(spare), (int((~good).sum()),), generator=generator)]
    return index
