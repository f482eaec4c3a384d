"""Who is who: people of a frame are given to the tracks of the frames before.

The cost of a pair is one minus a likeness of boxes (intersection over union) and of keypoints (object keypoint
similarity, COCO), and the assignment of least cost is the Hungarian one (`scipy.optimize.linear_sum_assignment`).
Keypoints are compared as they are and with the names of the sides exchanged, whichever fits: a detector that takes
front for back must not lose a person. A track expects its person where its last motion leads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from hmralign.body.skeleton import MIRROR_KEYPOINTS

KEYPOINT_FALLOFF = 0.1
"""Distance, as a share of the person's size, at which two keypoints are e^-1/2 alike."""


@dataclass(frozen=True)
class AssociationConfig:
    """When two sightings are of one person."""

    least_likeness: float = 0.2
    """Pairs below are never joined."""
    pose_share: float = 0.6
    """Weight of keypoints in the likeness; the rest is the box's."""
    max_gap: float = 0.3
    """Seconds a person may be unseen; later sightings begin another track."""


@dataclass(frozen=True)
class Sighting:
    """A person in one frame: box (x0, y0, x1, y1), keypoints in pixels, confidence 0 where not observed."""

    box: Float[np.ndarray, " 4"]
    keypoints: Float[np.ndarray, "kp 2"]
    confidence: Float[np.ndarray, " kp"]


@dataclass(frozen=True)
class _Open:
    """A track that may go on: its last sighting, when that was, and the motion of its box, pixels per second."""

    track: int
    last: Sighting
    time: float
    velocity: Float[np.ndarray, " 2"]


class Tracker:
    """Gives every sighting of every frame the number of its track; numbers count from 0 and are never used again."""

    def __init__(self, config: AssociationConfig | None = None):
        self._config = config or AssociationConfig()
        self._open: list[_Open] = []
        self._next = 0

    def end_all(self) -> None:
        """End every track, as at a cut."""
        self._open = []

    def assign(self, time: float, sightings: list[Sighting]) -> list[int]:
        """The tracks of the people of the next frame, `time` seconds into the clip."""
        from scipy.optimize import linear_sum_assignment  # half a second, which photos need not pay

        config = self._config
        # A little slack: times are sums of rounded time stamps.
        self._open = [o for o in self._open if time - o.time <= config.max_gap + 1e-6]
        expected = [_moved(o, time) for o in self._open]
        table = likenesses(expected, sightings, config.pose_share)
        tracks = [-1] * len(sightings)
        if table.size:
            for row, column in zip(*linear_sum_assignment(-table), strict=True):
                if table[row, column] >= config.least_likeness:
                    tracks[column] = self._open[row].track
        for number, track in enumerate(tracks):
            if track < 0:
                tracks[number] = self._next
                self._next += 1
        self._open = self._going_on(time, sightings, tracks)
        return tracks

    def _going_on(self, time: float, sightings: list[Sighting], tracks: list[int]) -> list[_Open]:
        before = {o.track: o for o in self._open}
        seen = []
        for sighting, track in zip(sightings, tracks, strict=True):
            old = before.pop(track, None)
            velocity = np.zeros(2)
            if old is not None and time > old.time:
                step = (_centre(sighting.box) - _centre(old.last.box)) / (time - old.time)
                velocity = 0.5 * old.velocity + 0.5 * step
            seen.append(_Open(track, sighting, time, velocity))
        return [*before.values(), *seen]


def likenesses(
    first: list[Sighting], second: list[Sighting], pose_share: float = 0.6
) -> Float[np.ndarray, "first second"]:
    """How much any two sightings look like one person, 0 to 1; boxes alone where fewer than 3 keypoints are in both."""
    if not first or not second:
        return np.zeros((len(first), len(second)))
    overlap = _box_iou(_stacked(first, "box"), _stacked(second, "box"))
    pose = np.maximum(_similarity(first, second), _similarity(first, [_exchanged(s) for s in second]))
    return np.where(pose < 0, overlap, (1 - pose_share) * overlap + pose_share * pose)


def _similarity(first: list[Sighting], second: list[Sighting]) -> Float[np.ndarray, "first second"]:
    """Object keypoint similarity, weighted by the lower confidence; -1 where too little is in both."""
    weight = np.minimum(_stacked(first, "confidence")[:, None], _stacked(second, "confidence")[None])
    sizes = [np.sqrt(_area(_stacked(group, "box"))) for group in (first, second)]
    size = np.maximum(np.maximum(sizes[0][:, None], sizes[1][None]), 1.0)
    gap = np.linalg.norm(_stacked(first, "keypoints")[:, None] - _stacked(second, "keypoints")[None], axis=-1)
    alike = np.exp(-0.5 * (gap / (KEYPOINT_FALLOFF * size[..., None])) ** 2)
    total = weight.sum(-1)
    mean = (weight * alike).sum(-1) / np.maximum(total, 1e-12)
    return np.where((weight > 0).sum(-1) >= 3, mean, -1.0)


def _exchanged(sighting: Sighting) -> Sighting:
    order = list(MIRROR_KEYPOINTS)
    return replace(sighting, keypoints=sighting.keypoints[order], confidence=sighting.confidence[order])


def _stacked(sightings: list[Sighting], name: str) -> np.ndarray:
    return np.stack([getattr(sighting, name) for sighting in sightings]).astype(np.float64)


def _moved(track: _Open, time: float, most: float = 0.1) -> Sighting:
    """The last sighting, moved as it moved before, for at most a tenth of a second: longer guesses go astray."""
    shift = track.velocity * min(time - track.time, most)
    last = track.last
    return replace(last, box=last.box + np.tile(shift, 2), keypoints=last.keypoints + shift)


def _centre(box: np.ndarray) -> np.ndarray:
    return (box[:2] + box[2:]) / 2


def _area(boxes: Float[np.ndarray, "boxes 4"]) -> Float[np.ndarray, " boxes"]:
    return np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0), axis=1)


def _box_iou(first: Float[np.ndarray, "first 4"], second: Float[np.ndarray, "second 4"]) -> np.ndarray:
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    both = np.prod(np.maximum(high - low, 0.0), axis=-1)
    return both / np.maximum(_area(first)[:, None] + _area(second)[None] - both, 1e-9)
