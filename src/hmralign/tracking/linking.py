"""Which hypothesis of each frame: the sequence of least cost through the groups of all frames (Viterbi 1967).

Every frame of a track offers a group of bodies for each *reading* of its keypoints: as the detector names them, with
left and right exchanged, which is how a detector errs that takes front for back, and, where a second network reads the
sides the other way round, as that one does. The last two are called turned. The cost of a sequence is

    sum of  misfit(frame, reading)                         how badly its reading fits the keypoints
          - logit P(reading | frame) + logit P(turned)     what the frame's keypoints and both networks say; turned ones
          + min(d^2 / 2 (noise^2 + (speed dt)^2), most)    how far the body moved, d in metres; see `motion_features`;
                                                           `most` is `jump`, or `change` where the reading changes
          - log P(turned | turned before, dt)              a detector errs seldom, and then for a while

so that a frame whose reading does not fit its neighbours' is voted down by them, and a stretch of such frames as well,
as long as the motion into it and out of it is dearer than to call the detector wrong for that long. P(reading | frame)
is that of a photo (`hypotheses.sides`); it counts as a ratio to the chain's own share, so that a frame without
neighbours has just that probability. A reading that its own frame makes as good as impossible is not offered, whatever
the neighbours say. Where nothing is known of a frame (NaN), what most frames say decides alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class LinkConfig:
    """How hypotheses of neighbouring frames are joined."""

    noise: float = 0.01
    """Metres by which hypotheses of one body differ from frame to frame without any motion, root mean square."""
    speed: float = 1.0
    """Metres per second, root mean square over joints, pelvis-relative."""
    jump: float = 200.0
    """Most that a motion costs: what cannot be explained by motion costs this. Half a turn in one frame costs 50 at 30
    frames a second and 150 at 60; a lower bound lets flips through (chosen on synthetic flips)."""
    change: float = 20.0
    """Most that it costs where the reading changes: the keypoints of the two frames then err in different ways, so that
    even the right bodies of both differ by more than motion explains."""
    exchanged_share: float = 0.05
    """Share of frames in which a detector exchanges the sides."""
    exchanged_seconds: float = 0.3
    """How long it goes on doing so, on average."""
    misfit_seconds: float = 0.15
    """Frames within this time share their errors: together they count as one for the keypoints' misfit, and for what
    they say of their readings."""
    offered_above: float = 0.002
    """Probability up to which a turned reading is not offered: no neighbour turns what both networks read in one way
    and the gate is sure of. Of synthetic persons with exchanged sides one in a hundred falls below."""


def motion_features(
    rotmats: Float[Tensor, "hyp 24 3 3"], joints: Float[Tensor, "hyp joint 3"], metres_per_radian: float = 0.1
) -> Float[np.ndarray, "hyp features"]:
    """Numbers whose squared distance is the mean squared motion of joints (pelvis-relative, metres^2) plus that of
    rotations, a radian counted as `metres_per_radian`: twists move no joint."""
    places = (joints - joints[:, :1]).flatten(1) / math.sqrt(joints.shape[1])
    turns = rotmats.flatten(1) * (metres_per_radian / math.sqrt(2 * rotmats.shape[1]))
    return torch.cat([places, turns], dim=1).numpy().astype(np.float32)


class Linker:
    """The cheapest sequence through the groups of one track, which are shown to it frame by frame.

    Keeps one integer per hypothesis and frame, nothing else of earlier frames.
    """

    def __init__(self, config: LinkConfig | None = None):
        self._config = config or LinkConfig()
        self._back: list[np.ndarray] = []
        self._features: np.ndarray | None = None
        self._readings = np.zeros(0, np.int64)
        self._cost: np.ndarray = np.zeros(0)
        self._time = 0.0

    def show(
        self,
        time: float,
        features: Float[np.ndarray, "hyp features"],
        readings: Int[np.ndarray, " hyp"],
        misfit: Float[np.ndarray, " hyp"],
        probability: Float[np.ndarray, " hyp"] | None = None,
    ) -> None:
        """The group of the next frame in which the person was seen; `readings` are indices into `readings.READINGS`.

        `probability` is that of each hypothesis' reading, by what the frame itself says; NaN, or None for all, where
        nothing is known. That of the reading as read is not looked at.
        """
        unary = misfit + self._evidence(readings, probability)
        if self._features is None:
            share = self._config.exchanged_share
            self._cost = unary - np.log(np.where(readings > 0, share, 1 - share))
            self._back.append(np.zeros(len(readings), np.uint16))
        else:
            unary = unary * min(1.0, (time - self._time) / self._config.misfit_seconds)
            motion = self._motion(features, time - self._time)
            changes = self._readings[:, None] != readings[None]
            motion = np.where(changes, np.minimum(motion, self._config.change), motion)
            step = motion + self._turned(readings, time - self._time)
            total = self._cost[:, None] + step
            before = total.argmin(0)
            self._cost = total[before, np.arange(len(readings))] + unary
            self._cost = self._cost - self._cost.min()
            self._back.append(before.astype(np.uint16))
        self._features, self._readings, self._time = features, readings, time

    def path(self) -> Int[np.ndarray, " frames"]:
        """Index of the hypothesis of each frame that was shown."""
        chosen = np.zeros(len(self._back), np.int64)
        at = int(self._cost.argmin()) if len(self._cost) else 0
        for frame in range(len(self._back) - 1, -1, -1):
            chosen[frame] = at
            at = int(self._back[frame][at])
        return chosen

    def _motion(self, features: np.ndarray, dt: float) -> Float[np.ndarray, "before hyp"]:
        assert self._features is not None
        a, b = self._features, features
        squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
        config = self._config
        variance = config.noise**2 + (config.speed * dt) ** 2
        return np.minimum(np.maximum(squared, 0.0) / (2 * variance), config.jump)

    def _evidence(self, readings: np.ndarray, probability: np.ndarray | None) -> Float[np.ndarray, " hyp"]:
        """What a frame says against each turned reading; infinite for those that are not offered."""
        cost = np.zeros(len(readings))
        if probability is None:
            return cost
        config = self._config
        known = (readings > 0) & ~np.isnan(probability)
        p = np.clip(probability[known].astype(np.float64), 1e-9, 1 - 1e-9)
        ratio = np.log(p / (1 - p)) - math.log(config.exchanged_share / (1 - config.exchanged_share))
        cost[known] = np.where(p > config.offered_above, -ratio, np.inf)
        return cost

    def _turned(self, readings: np.ndarray, dt: float) -> Float[np.ndarray, "before hyp"]:
        """A chain of two states in continuous time, whose share and duration the configuration says."""
        config = self._config
        share, leave = config.exchanged_share, 1 / config.exchanged_seconds
        enter = leave * share / (1 - share)
        mixed = 1 - math.exp(-(enter + leave) * dt)
        change = np.array([[1 - share * mixed, share * mixed], [(1 - share) * mixed, 1 - (1 - share) * mixed]])
        return -np.log(change)[(self._readings[:, None] > 0).astype(int), (readings[None] > 0).astype(int)]
