"""Which hypothesis of each frame: the sequence of least cost through the groups of all frames (Viterbi 1967).

Every frame of a track offers a group of bodies for each *reading* of its keypoints: as the detector names them, with
left and right exchanged, which is how a detector errs that takes front for back, and, where a second network reads the
sides the other way round, as that one does. The last two are called turned. The cost of a sequence is

    sum of  misfit(frame, reading)                         how badly its reading fits the keypoints
          - logit P(reading | frame) + logit P(turned)     what the frame's keypoints and both networks say; turned ones
          + min(d^2 / 2 (noise^2 + (speed dt)^2), most)    how far the body moved, d in metres; see `motion_features`;
                                                           `most` is `jump`, or `change` where the reading changes
          - log P(turned | turned before, dt)              a detector errs seldom, and then for a while
          + disbelief                                      for each frame of which nothing is taken

so that a frame whose reading does not fit its neighbours' is voted down by them, and a stretch of such frames as well,
as long as the motion into it and out of it is dearer than to call the detector wrong for that long. P(reading | frame)
is that of a photo (`hypotheses.sides`); it counts as a ratio to the chain's own share, so that a frame without
neighbours has just that probability. A reading that its own frame makes as good as impossible is not offered, whatever
the neighbours say. Where nothing is known of a frame (NaN), what most frames say decides alone. A frame whose every
reading contradicts its neighbours is not believed at all: without that, one such frame drags a whole stretch around it
into the wrong reading, which is cheaper than to jump into it and out again.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8, UInt16
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
    disbelief: float = 10.0
    """What it costs to take nothing of a frame between two others. Chosen on synthetic flips and by a look at clip
    m02, where 5 to 30 serve alike."""
    disbelief_seconds: float = 0.1
    """Longest time for which nothing is taken; it is filled in."""
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


@dataclass(frozen=True)
class _Shown:
    """A frame that may be gone on from."""

    time: float
    features: Float[np.ndarray, "hyp features"]
    readings: Int[np.ndarray, " hyp"]
    cost: Float[np.ndarray, " hyp"]
    """Of the cheapest sequence that ends in each hypothesis."""


@dataclass(frozen=True)
class _Before:
    """What comes before each hypothesis of a frame: so many frames back, and which hypothesis there."""

    back: UInt8[np.ndarray, " hyp"]
    hypothesis: UInt16[np.ndarray, " hyp"]


NOTHING = -1
"""In a path: a frame of which nothing is taken."""
_MOST_SKIPPED = 8


class Linker:
    """The cheapest sequence through the groups of one track, which are shown to it frame by frame.

    Keeps two integers per hypothesis and frame, and the groups of the last `disbelief_seconds`.
    """

    def __init__(self, config: LinkConfig | None = None):
        self._config = config or LinkConfig()
        self._before: list[_Before] = []
        self._recent: deque[_Shown] = deque(maxlen=_MOST_SKIPPED + 1)

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
        config = self._config
        unary = misfit + self._evidence(readings, probability)
        if not self._recent:
            share = config.exchanged_share
            cost = unary - np.log(np.where(readings > 0, share, 1 - share))
            before = _Before(np.zeros(len(readings), np.uint8), np.zeros(len(readings), np.uint16))
        else:
            step = time - self._recent[-1].time
            best, before = self._cheapest(time, step, features, readings)
            cost = best + unary * min(1.0, step / config.misfit_seconds)
        self._before.append(before)
        self._recent.append(_Shown(time, features, readings, cost))

    def _cheapest(
        self, time: float, step: float, features: np.ndarray, readings: np.ndarray
    ) -> tuple[Float[np.ndarray, " hyp"], _Before]:
        """Cost of the way to each hypothesis, from the frame before or, where those between are skipped, an earlier
        one."""
        best = np.full(len(readings), np.inf)
        back, from_hypothesis = np.ones(len(readings), np.uint8), np.zeros(len(readings), np.uint16)
        for skipped, shown in enumerate(reversed(self._recent)):
            if skipped and time - shown.time > self._config.disbelief_seconds + step:
                break
            total = shown.cost[:, None] + self._way(shown, time, features, readings)
            nearest = total.argmin(0)
            cost = total[nearest, np.arange(len(readings))] + skipped * self._config.disbelief
            cheaper = cost < best
            best = np.where(cheaper, cost, best)
            back[cheaper], from_hypothesis[cheaper] = skipped + 1, nearest[cheaper]
        return best, _Before(back, from_hypothesis)

    def _way(
        self, shown: _Shown, time: float, features: np.ndarray, readings: np.ndarray
    ) -> Float[np.ndarray, "before hyp"]:
        dt = time - shown.time
        motion = self._motion(shown.features, features, dt)
        changes = shown.readings[:, None] != readings[None]
        motion = np.where(changes, np.minimum(motion, self._config.change), motion)
        return motion + self._turned(shown.readings, readings, dt)

    def path(self) -> Int[np.ndarray, " frames"]:
        """Index of the hypothesis of each frame that was shown, or `NOTHING`; never in the first or last frame."""
        chosen = np.full(len(self._before), NOTHING, np.int64)
        frame = len(self._before) - 1
        at = int(self._recent[-1].cost.argmin()) if self._recent else 0
        while frame >= 0:
            chosen[frame] = at
            before = self._before[frame]
            frame, at = frame - int(before.back[at]) if frame else -1, int(before.hypothesis[at])
        return chosen

    def _motion(self, a: np.ndarray, b: np.ndarray, dt: float) -> Float[np.ndarray, "before hyp"]:
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

    def _turned(self, before: np.ndarray, after: np.ndarray, dt: float) -> Float[np.ndarray, "before hyp"]:
        """A chain of two states in continuous time, whose share and duration the configuration says."""
        config = self._config
        share, leave = config.exchanged_share, 1 / config.exchanged_seconds
        enter = leave * share / (1 - share)
        mixed = 1 - math.exp(-(enter + leave) * dt)
        change = np.array([[1 - share * mixed, share * mixed], [(1 - share) * mixed, 1 - (1 - share) * mixed]])
        return -np.log(change)[(before[:, None] > 0).astype(int), (after[None] > 0).astype(int)]
