"""Which of many overlapping findings are the same person, and which are nobody: pure functions on landmarks.

The person detector is run on overlapping tiles and the landmark network twice per finding, so a person shows up many
times and now and then somebody is invented. What tells them apart: two passes agree, the segmentation covers the
skeleton, the skeleton has human proportions, and it is not a piece of somebody already found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from hmralign.detection.mediapipe_client import Network
from hmralign.detection.mediapipe_landmarks import inside_image

MAIN = np.array([0, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28])
"""Nose, shoulders, elbows, wrists, hips, knees and ankles among mediapipe's landmarks."""

MIRROR = np.array([
    0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9,
    12, 11, 14, 13, 16, 15, 18, 17, 20, 19, 22, 21, 24, 23, 26, 25, 28, 27, 30, 29, 32, 31,
    33, 34,
])  # fmt: skip
"""Landmark `i` with left and right exchanged."""

SAME_PERSON = 0.12
"""Landmark distance up to which two findings may be one person."""

LIMBS = ((11, 13), (13, 15), (12, 14), (14, 16), (23, 25), (25, 27), (24, 26), (26, 28), (11, 12), (23, 24))


@dataclass(frozen=True)
class Finding:
    """One reading of the landmark network and what supports it.

    `landmarks` (35, 5): x, y, z in pixels, visibility, presence; `world` (33, 3) metres; `alpha` the segmentation in
    the frame of `region` (centre x, centre y, side, angle). `presence` is the network's opinion that there is a person,
    `detection` the best score and `support` the number of tiles of the person detector, `disagreement` the median
    distance of the landmarks from the pass before, as a share of the region's side. `network` are the weights that read
    it, and `other` is the reading of other weights, where one was asked for (`second_reading`).
    """

    landmarks: Float32[np.ndarray, "35 5"]
    world: Float32[np.ndarray, "33 3"]
    alpha: UInt8[np.ndarray, "side side"]
    region: tuple[float, float, float, float]
    presence: float
    detection: float = 0.0
    support: int = 1
    disagreement: float = 0.0
    network: Network = "full"
    other: Finding | None = None

    @property
    def points(self) -> Float32[np.ndarray, "35 2"]:
        """Pixel positions."""
        return self.landmarks[:, :2]

    @property
    def visibility(self) -> Float32[np.ndarray, " 35"]:
        """Visibility per landmark."""
        return self.landmarks[:, 3]

    @property
    def size(self) -> float:
        """Length of the person in pixels, standing straight: diameter of the circle around the body."""
        return 2.0 * float(np.linalg.norm(self.points[34] - self.points[33]))


def main_weights(finding: Finding, image_size: tuple[int, int]) -> Float[np.ndarray, " main"]:
    """Visibility of the main landmarks, 0 outside the image (height, width)."""
    return np.where(inside_image(finding.points[MAIN], image_size), finding.visibility[MAIN], 0.0)


def landmark_distance(a: Finding, b: Finding, image_size: tuple[int, int]) -> float:
    """Weighted mean distance of the main landmarks, left/right exchanged where that is closer, as a share of body size.

    Infinite where the two share no confident landmark.
    """
    weights = np.minimum(main_weights(a, image_size), main_weights(b, image_size))
    if weights.sum() < 1.5:
        return float("inf")
    size = max(a.size, b.size, 1e-6)

    def mean(points: np.ndarray) -> float:
        gaps = np.linalg.norm(a.points[MAIN] - points[MAIN], axis=1)
        return float((np.minimum(gaps / size, 0.5) * weights).sum() / weights.sum())

    return min(mean(b.points), mean(b.points[MIRROR]))


def sides_exchanged(a: Finding, b: Finding, image_size: tuple[int, int]) -> bool:
    """Whether `b` looks like `a` with the whole body's left and right exchanged."""
    weights = np.minimum(main_weights(a, image_size), main_weights(b, image_size))
    straight = np.linalg.norm(a.points[MAIN] - b.points[MAIN], axis=1)
    crossed = np.linalg.norm(a.points[MAIN] - b.points[MIRROR][MAIN], axis=1)
    return bool((weights * crossed).sum() < 0.6 * (weights * straight).sum())


def exchange_sides(finding: Finding) -> Finding:
    """The same body with left and right exchanged.  Depths are kept: they belong to the places in the image."""
    return replace(finding, landmarks=finding.landmarks[MIRROR], world=finding.world[MIRROR[:33]])


def second_reading(
    first: Finding, again: Sequence[Finding], image_size: tuple[int, int], *, min_presence: float
) -> Finding:
    """The reading of better weights that stands for a person, with the first one kept as `other`.

    Of several (the picture as it is, neighbours painted out) it is the one nearest to the first, which was chosen with
    care; sides do not count. The first one stays where no other shows the same person.
    """
    near = [(landmark_distance(first, f, image_size), f) for f in again if f.presence >= min_presence]
    distance, best = min(near, key=lambda pair: pair[0], default=(float("inf"), first))
    if distance > SAME_PERSON:
        return first
    return replace(best, detection=first.detection, support=first.support, disagreement=first.disagreement, other=first)


def alpha_at(finding: Finding, points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
    """Segmentation (0-1, the best of the 3 x 3 cells around) at pixel positions; 0 outside the region."""
    cx, cy, side, angle = finding.region
    count = finding.alpha.shape[0]
    offset = (points - np.array([cx, cy])) / side
    cosine, sine = np.cos(angle), np.sin(angle)
    column = np.floor((cosine * offset[:, 0] + sine * offset[:, 1] + 0.5) * count).astype(int)
    row = np.floor((-sine * offset[:, 0] + cosine * offset[:, 1] + 0.5) * count).astype(int)
    padded = np.pad(finding.alpha, 2)
    column, row = np.clip(column + 2, 0, count + 3), np.clip(row + 2, 0, count + 3)
    around = [
        padded[np.clip(row + i, 0, count + 3), np.clip(column + j, 0, count + 3)]
        for i in (-1, 0, 1)
        for j in (-1, 0, 1)
    ]
    return np.max(around, axis=0) / 255.0


def coverage(finding: Finding, image_size: tuple[int, int]) -> float:
    """Share of the confident main landmarks in the image that the segmentation covers; 0 with fewer than three."""
    weights = main_weights(finding, image_size)
    chosen = weights > 0.5
    if chosen.sum() < 3:
        return 0.0
    return float((alpha_at(finding, finding.points[MAIN][chosen]) > 0.3).mean())


def limb_excess(finding: Finding) -> float:
    """Longest main segment as a share of body size; a person's longest (a thigh or shin) is about a quarter."""
    points = finding.points
    return max(float(np.linalg.norm(points[i] - points[j])) for i, j in LIMBS) / max(finding.size, 1e-6)


def quality(finding: Finding, image_size: tuple[int, int], *, stray_scale: float = 0.4) -> float:
    """How much we trust a finding, 0 to 1.

    Presence, agreement of passes, coverage, visible landmarks, repetition, and the lack of segmentation far from the
    skeleton multiply; a smaller `stray_scale` (share of the segmentation) punishes the last harder.
    """
    agreement = float(np.exp(-((finding.disagreement / 0.06) ** 2)))
    visible = float(main_weights(finding, image_size).mean())
    found_often = 1.0 - 0.5 ** (finding.support * max(finding.detection, 0.1) * 2)
    alone = float(np.exp(-((stray_share(finding) / stray_scale) ** 2)))
    # People do lie and turn cartwheels, but invented ones do so far more often.
    upright = 1.0 if abs(finding.region[3]) < np.pi / 3 else 0.75
    covered = coverage(finding, image_size)
    return finding.presence * agreement * covered * (0.4 + 0.6 * visible) * found_often * alone * upright


def merge_findings(
    findings: Sequence[Finding], image_size: tuple[int, int], *, same: float = 0.09
) -> list[tuple[Finding, float]]:
    """One finding per person with its quality, best first.

    Findings nearer than `same` (a share of body size) are one person; the best stands for them, takes over their
    support, and has its sides exchanged where most of the others say so.
    """
    # Among readings of one person the one that does not reach into a neighbour wins, even if seen in fewer tiles.
    ranked = sorted(((quality(f, image_size, stray_scale=0.15), f) for f in findings), key=lambda pair: -pair[0])
    groups: list[list[tuple[float, Finding]]] = []
    for pair in ranked:
        home = next((g for g in groups if landmark_distance(g[0][1], pair[1], image_size) < same), None)
        if home is None:
            groups.append([pair])
        else:
            home.append(pair)
    people = [_representative(group, image_size) for group in groups]
    return sorted(people, key=lambda pair: -pair[1])


def _representative(group: list[tuple[float, Finding]], image_size: tuple[int, int]) -> tuple[Finding, float]:
    best = group[0][1]
    against = sum(q for q, f in group if sides_exchanged(best, f, image_size))
    if against > sum(q for q, f in group) - against:
        best = exchange_sides(best)
    best = replace(best, support=sum(f.support for _, f in group), detection=max(f.detection for _, f in group))
    return best, quality(best, image_size)


def own_landmarks(finding: Finding, others: Sequence[Finding], image_size: tuple[int, int]) -> int:
    """Number of confident main landmarks that lie on the finding's own segmentation and on nobody else's."""
    points = finding.points[MAIN]
    own = (main_weights(finding, image_size) > 0.5) & (alpha_at(finding, points) > 0.3)
    for other in others:
        own &= alpha_at(other, points) < 0.5
    return int(own.sum())


def is_piece_of(part: Finding, whole: Finding, image_size: tuple[int, int]) -> bool:
    """Whether a finding is a person invented inside another one: nearly all its landmarks lie on the other's mask."""
    weights = main_weights(part, image_size)
    chosen = weights > 0.3
    if not chosen.any():
        return True
    covered = float((alpha_at(whole, part.points[MAIN][chosen]) > 0.5).mean())
    nose_covered = alpha_at(whole, part.points[:1])[0] > 0.5
    return covered > 0.85 and bool(nose_covered)


SEGMENTS = (
    *LIMBS,
    (11, 23), (12, 24), (11, 24), (12, 23), (0, 11), (0, 12), (7, 8), (0, 7), (0, 8),
    (15, 19), (16, 20), (27, 31), (28, 32), (29, 31), (30, 32),
)  # fmt: skip
"""Lines along the body: limbs, the outline and diagonals of the trunk, head, hands and feet."""


def skeleton_distance(
    finding: Finding, where: Bool[np.ndarray, "side side"] | None = None
) -> Float[np.ndarray, "side side"]:
    """Distance of each cell of the segmentation from the skeleton, in shares of body size; infinite outside `where`."""
    cx, cy, side, angle = finding.region
    count = finding.alpha.shape[0]
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    points = (finding.points[:33] - np.array([cx, cy])) @ turn.T / side
    steps = (np.arange(count) + 0.5) / count - 0.5
    asked = np.ones((count, count), bool) if where is None else where
    row, column = np.nonzero(asked)
    x, y = steps[column], steps[row]
    nearest = np.full(len(x), np.inf)
    for i, j in SEGMENTS:
        (along_x, along_y), from_x, from_y = points[j] - points[i], x - points[i, 0], y - points[i, 1]
        t = np.clip((from_x * along_x + from_y * along_y) / max(float(along_x**2 + along_y**2), 1e-9), 0.0, 1.0)
        nearest = np.minimum(nearest, (from_x - t * along_x) ** 2 + (from_y - t * along_y) ** 2)
    distance = np.full((count, count), np.inf)
    distance[asked] = np.sqrt(nearest) * side / max(finding.size, 1e-6)
    return distance


def stray_share(finding: Finding, reach: float = 0.06) -> float:
    """Share of the segmentation that lies farther from the skeleton than a body reaches: parts of somebody else."""
    coarse = replace(finding, alpha=finding.alpha[::2, ::2])
    person = coarse.alpha > 127
    return float((skeleton_distance(coarse, person)[person] > reach).mean()) if person.any() else 1.0
