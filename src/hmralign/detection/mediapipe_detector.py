"""Several people in a photo with mediapipe's two pose networks.

The person detector looks at the whole image and at overlapping tiles; every place it proposes is read by the landmark
network twice, the second time in the region that the first reading suggests; then `person_candidates` decides. The
people who were found are at last read with the heavy weights of that network, where they are installed
(`heavy_network`): those exchange left and right less often. Where the two readings disagree on that, the other one is
kept as the detection's `alternative`.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8
from PIL import Image
from scipy.ndimage import map_coordinates

from hmralign.detection.boxes import box_iou, centre_offset, checked_box, regions_for_box
from hmralign.detection.catalogue import DetectorSetting
from hmralign.detection.detection import Detection, Detector, OtherReading
from hmralign.detection.environment import environment_python, require_detector_environment
from hmralign.detection.heavy_network import detector_name, heavy_state, tell_what_is_missing
from hmralign.detection.mediapipe_client import MediapipeClient, Network, PersonCandidates
from hmralign.detection.mediapipe_landmarks import inside_image, landmarks_to_keypoints, region_of_points
from hmralign.detection.painting import paint_out
from hmralign.detection.person_candidates import (
    Finding,
    coverage,
    is_piece_of,
    landmark_distance,
    limb_excess,
    merge_findings,
    own_landmarks,
    quality,
    second_reading,
)
from hmralign.detection.person_mask import PersonMask
from hmralign.detection.process_lock import ProcessLock
from hmralign.detection.sides import exchanged_parts
from hmralign.structures import InputError

Region = tuple[float, float, float, float]
Judged = tuple[Finding, float]
"""A finding and the trust in it."""


@dataclass(frozen=True)
class MediapipeDetectorConfig:
    """Where to look and whom to believe."""

    tile_scales: tuple[float, ...] = (1.0, 0.6, 0.4)
    """Sides of the square tiles as shares of the image's shorter (1.0) or longer side; the whole image comes first."""
    min_detection: float = 0.4
    """Score below which a proposal of the person detector is ignored."""
    min_presence: float = 0.5
    """Score of the landmark network below which a region holds nobody."""
    max_disagreement: float = 0.06
    """Median distance of two passes, as a share of the region's side."""
    min_coverage: float = 0.6
    """Share of the confident landmarks that the segmentation must cover."""
    min_quality: float = 0.35
    """Overall trust below which a person is dropped."""
    min_quality_behind: float = 0.33
    """The same for people seen only after others were painted out."""
    min_box_overlap: float = 0.5
    """Intersection over union with the user's box below which a person is not the one that was meant."""
    good_box_overlap: float = 0.7
    """The same above which no further look at the box is taken."""
    min_own_landmarks: int = 4
    """Confident main landmarks that must not lie on people found before."""
    max_regions: int = 32
    """Places read by the landmark network at most."""
    max_side: int = 1600
    """Larger photos are shrunk to this for detection, pixels."""
    network: Network = "heavy"
    """Weights that read the people who were found; without the file of "heavy", "full" do, which always search."""


ONE_PERSON = MediapipeDetectorConfig(tile_scales=(), min_quality=0.25)
"""The whole picture instead of about thirty tiles, for pictures that one person fills; the readings after that are the
same. One tile supports a finding less than thirty, hence the lower threshold."""


class MediapipeDetector:
    """Finds people with a detector process; use as a context manager, or call `close`.

    Any number of threads may share one: it reads one photo at a time. A forked process, or a copy, starts a detector
    process of its own. Raises `InputError` when the detector environment is missing.
    """

    def __init__(self, environment: Path | None = None, config: MediapipeDetectorConfig | None = None):
        self.config = config or MediapipeDetectorConfig()
        self._environment = require_detector_environment(environment)
        self._client = MediapipeClient(environment_python(self._environment))
        self._heavy = heavy_state(self._environment) if self.config.network == "heavy" else None
        if self._heavy is not None:
            tell_what_is_missing(self._heavy)
        self._lock = ProcessLock()
        self._last: tuple[tuple, list[Judged]] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return MediapipeDetector, (self._environment, self.config)

    def __enter__(self) -> MediapipeDetector:
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    @property
    def versions(self) -> dict[str, str]:
        """Versions of the libraries behind the detector, and the hash of the heavy weights or why they are not used."""
        heavy = "not asked for" if self._heavy is None else self._heavy.version
        return {**self._client.versions, "pose_landmark_heavy_sha256": heavy}

    @property
    def name(self) -> str:
        """Name under which the noise of its readings was measured: "mediapipe_heavy", or "mediapipe" with full only."""
        return detector_name(self._reads_again)

    @property
    def _reads_again(self) -> bool:
        return self._heavy is not None and self._heavy.ready

    def close(self) -> None:
        """End the detector process."""
        self._client.close()

    def __call__(self, image: UInt8[np.ndarray, "height width 3"]) -> list[Detection]:
        """People in an RGB image, the most certain first."""
        small, scale = shrink_image(image, self.config.max_side)
        return [to_detection(f, q, scale, image.shape[:2]) for f, q in self._people(small)]

    def detect_in_box(
        self, image: UInt8[np.ndarray, "height width 3"], box: Float[np.ndarray, " 4"]
    ) -> Detection | None:
        """The person that a box (x0, y0, x1, y1) was drawn around, or None rather than somebody else.

        Its keypoints and box are those of the person found, which must overlap the given box by `min_box_overlap`.
        """
        wanted = checked_box(box, image.shape[:2])
        small, scale = shrink_image(image, self.config.max_side)
        target = (wanted + 0.5) * np.array([*scale, *scale]) - 0.5
        size = small.shape[:2]
        people = self._people(small)
        best = best_in_box(people, target, size)
        if best is None or box_iou(finding_box(best[0], size), target) < self.config.good_box_overlap:
            others = [f for f, _ in people if box_iou(finding_box(f, size), target) < self.config.min_box_overlap]
            read = [(self._with_heavy(small, f, others), q) for f, q in self._read_box(small, target, others)]
            best = best_in_box([*people, *read], target, size)
        if best is None or box_iou(finding_box(best[0], size), target) < self.config.min_box_overlap:
            return None
        return to_detection(best[0], best[1], scale, image.shape[:2])

    def _read_box(
        self, image: UInt8[np.ndarray, "height width 3"], box: Float64[np.ndarray, " 4"], others: Sequence[Finding]
    ) -> list[Judged]:
        """Readings of the regions around a box, as the image is and with the people of other boxes painted out."""
        size = image.shape[:2]
        judged: list[Judged] = []
        for shown in [image, paint_out(image, others)] if others else [image]:
            # The box itself stands for the proposal of the person detector.
            findings = self._read(shown, [(region, 1.0, 3) for region in regions_for_box(box, size)])
            judged += [(f, quality(f, size)) for f in findings if self._is_person(f, size)]
        return [
            (f, q)
            for f, q in judged
            if q >= self.config.min_quality_behind
            and not any(landmark_distance(f, other, size) < 0.12 for other in others)
        ]

    def _people(self, image: UInt8[np.ndarray, "height width 3"]) -> list[Judged]:
        """People of a shrunk image, best first; the last image is remembered, as it may be asked for box by box.

        One thread at a time: the others wait here, rather than have the detector process change images between them.
        """
        with self._lock.held():
            key = (image.shape, zlib.crc32(image.tobytes()))
            if self._last is None or self._last[0] != key:
                tiles = make_tiles(image.shape[0], image.shape[1], self.config.tile_scales)
                people = self._search(image, tiles, [], self.config.min_quality)
                people = self._search_behind(image, people)
                people = [self._without_neighbours(image, i, people) for i in range(len(people))]
                people = [
                    (self._with_heavy(image, f, [g for g, _ in people[:i] + people[i + 1 :]]), q)
                    for i, (f, q) in enumerate(people)
                ]
                self._last = (key, sorted(people, key=lambda pair: -pair[1]))
            return self._last[1]

    def _search(
        self,
        image: UInt8[np.ndarray, "height width 3"],
        tiles: Sequence[Region],
        known: Sequence[Finding],
        min_quality: float,
    ) -> list[Judged]:
        """New people in an image, beside those known."""
        size = image.shape[:2]
        proposals = self._client.detect(image, tiles, min_score=self.config.min_detection)
        findings = self._read(image, distinct_regions(proposals)[: self.config.max_regions])
        people: list[Judged] = []
        for finding, trust in merge_findings(findings, size):
            others = [*known, *(p for p, _ in people)]
            if trust < min_quality or not self._is_person(finding, size):
                continue
            if own_landmarks(finding, known, size) < self.config.min_own_landmarks:
                continue
            if not any(is_piece_of(finding, p, size) or landmark_distance(finding, p, size) < 0.12 for p in others):
                people.append((finding, trust))
        return people

    def _search_behind(self, image: UInt8[np.ndarray, "height width 3"], people: list[Judged]) -> list[Judged]:
        """Look again near the people found, with them painted out."""
        if not people:
            return people
        size = image.shape[:2]
        known = [finding for finding, _ in people]
        tiles = [tile for finding in known for tile in tiles_around(finding, size)]
        return people + self._search(paint_out(image, known), tiles, known, self.config.min_quality_behind)

    def _without_neighbours(
        self, image: UInt8[np.ndarray, "height width 3"], index: int, people: Sequence[Judged]
    ) -> Judged:
        """Read a person again with the overlapping others painted out; kept when that is the better reading."""
        finding, trust = people[index]
        size = image.shape[:2]
        near = [f for k, (f, _) in enumerate(people) if k != index and stand_close(f, finding)]
        if not near:
            return finding, trust
        again = self._read(paint_out(image, near), [(finding.region, finding.detection, finding.support)])
        if not again or landmark_distance(finding, again[0], size) > 0.12 or not self._is_person(again[0], size):
            return finding, trust
        better = quality(again[0], size)
        return (again[0], better) if better > trust else (finding, trust)

    def _with_heavy(
        self, image: UInt8[np.ndarray, "height width 3"], finding: Finding, others: Sequence[Finding]
    ) -> Finding:
        """A person read again with the heavy weights, where they are installed; also with neighbours painted out."""
        if not self._reads_again:
            return finding
        near = [f for f in others if stand_close(f, finding)]
        read = []
        for shown in [image, paint_out(image, near)] if near else [image]:
            found = self._client.landmarks(shown, [finding.region], network="heavy")
            read.append(
                Finding(
                    landmarks=found.landmarks[0],
                    world=found.world[0],
                    alpha=found.mask[0],
                    region=finding.region,
                    presence=float(found.score[0]),
                    network="heavy",
                )
            )
        return second_reading(finding, read, image.shape[:2], min_presence=self.config.min_presence)

    def _read(
        self, image: UInt8[np.ndarray, "height width 3"], proposals: Sequence[tuple[Region, float, int]]
    ) -> list[Finding]:
        """Two passes of the landmark network over proposed regions (region, score, support) of an image."""
        if not proposals:
            return []
        first = self._client.landmarks(image, [region for region, _, _ in proposals], mask_size=0)
        alive = [i for i, score in enumerate(first.score) if score > 0.2]
        if not alive:
            return []
        regions = [region_of_points(first.landmarks[i, 33, :2], first.landmarks[i, 34, :2]) for i in alive]
        second = self._client.landmarks(image, regions)
        return [
            Finding(
                landmarks=second.landmarks[k],
                world=second.world[k],
                alpha=second.mask[k],
                region=regions[k],
                presence=float(second.score[k]),
                detection=proposals[i][1],
                support=proposals[i][2],
                disagreement=disagreement(first.landmarks[i], second.landmarks[k], regions[k][2]),
            )
            for k, i in enumerate(alive)
        ]

    def _is_person(self, finding: Finding, size: tuple[int, int]) -> bool:
        config = self.config
        return (
            finding.presence >= config.min_presence
            and finding.disagreement <= config.max_disagreement
            and coverage(finding, size) >= config.min_coverage
            and limb_excess(finding) < 0.45
        )


def shrink_image(
    image: UInt8[np.ndarray, "height width 3"], max_side: int
) -> tuple[UInt8[np.ndarray, "small_height small_width 3"], tuple[float, float]]:
    """The image with its longer side at most `max_side`, and the factors (x, y) that were applied."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or min(image.shape[:2]) < 8:
        raise InputError(
            f"the detector expects an RGB image (height, width, 3) of uint8, got {image.dtype} {image.shape}"
        )
    height, width = image.shape[:2]
    factor = max_side / max(height, width)
    if factor >= 1:
        return image, (1.0, 1.0)
    new = (max(8, round(width * factor)), max(8, round(height * factor)))
    small = np.asarray(Image.fromarray(image).resize(new, Image.Resampling.BOX))
    return small, (new[0] / width, new[1] / height)


def make_tiles(height: int, width: int, scales: Sequence[float]) -> list[Region]:
    """The whole image, then square tiles (x0, y0, x1, y1) that overlap by half.

    A scale of 1 is the shorter side, smaller ones are shares of the longer side.
    """
    tiles: list[Region] = [(0.0, 0.0, float(width), float(height))]
    for scale in scales:
        # The floor keeps the number of tiles of a panorama bounded.
        side = max(float(min(height, width)) if scale >= 1 else scale * max(height, width), 0.25 * max(height, width))
        if side > 0.95 * max(height, width):
            continue
        for y0, y1 in _intervals(float(height), side):
            tiles += [(x0, y0, x1, y1) for x0, x1 in _intervals(float(width), side)]
    return tiles


def tiles_around(finding: Finding, image_size: tuple[int, int]) -> list[Region]:
    """Two square tiles around a person, cut to the image (height, width)."""
    height, width = image_size
    inside = finding.points[:33][inside_image(finding.points[:33], image_size)]
    x, y = (float(v) for v in (inside.mean(0) if len(inside) else finding.points[33]))
    tiles = [(x - h, y - h, x + h, y + h) for h in (0.5 * finding.size, 0.8 * finding.size)]
    return [(max(0.0, a), max(0.0, b), min(float(width), c), min(float(height), d)) for a, b, c, d in tiles]


def stand_close(a: Finding, b: Finding) -> bool:
    """Whether two people may overlap in the image: the bounding boxes of their landmarks do."""
    low = np.maximum(a.points[:33].min(0), b.points[:33].min(0))
    high = np.minimum(a.points[:33].max(0), b.points[:33].max(0))
    return bool((high - low > -0.1 * min(a.size, b.size)).all())


def _intervals(length: float, side: float) -> list[tuple[float, float]]:
    if side >= length:
        return [(0.0, length)]
    count = int(np.ceil((length - side) / (0.5 * side) - 1e-6)) + 1
    return [(float(a), float(a) + side) for a in np.linspace(0.0, length - side, count)]


def distinct_regions(proposals: PersonCandidates) -> list[tuple[Region, float, int]]:
    """Regions of the proposals without repetition (region, best score, number of proposals), best first."""
    kept: list[tuple[Region, np.ndarray, float, int]] = []
    for i in np.argsort(-proposals.score, kind="stable"):
        region = region_of_points(proposals.points[i, 0], proposals.points[i, 1])
        if not 16 <= region[2] <= 1e5:
            continue
        for k, (other, shoulders, score, count) in enumerate(kept):
            gap = max(
                np.hypot(region[0] - other[0], region[1] - other[1]), np.linalg.norm(proposals.points[i, 2] - shoulders)
            )
            if gap < 0.08 * other[2] and 0.75 < region[2] / other[2] < 1.33:
                kept[k] = (other, shoulders, score, count + 1)
                break
        else:
            kept.append((region, proposals.points[i, 2], float(proposals.score[i]), 1))
    return sorted(((r, s, n) for r, _, s, n in kept), key=lambda item: -item[1] * (1 - 0.5 ** item[2]))


def disagreement(first: Float[np.ndarray, "35 5"], second: Float[np.ndarray, "35 5"], side: float) -> float:
    """Median distance of the 33 landmarks between two passes, as a share of the region's side."""
    return float(np.median(np.linalg.norm(first[:33, :2] - second[:33, :2], axis=1)) / max(side, 1e-6))


def finding_box(finding: Finding, image_size: tuple[int, int]) -> Float64[np.ndarray, " 4"]:
    """Box of a finding in the image it was found in."""
    mask = upright_mask(finding, (1.0, 1.0))
    return person_box(finding.landmarks, mask, image_size, reach=0.12 * finding.size).astype(np.float64)


def best_in_box(people: Sequence[Judged], box: Float64[np.ndarray, " 4"], image_size: tuple[int, int]) -> Judged | None:
    """The person whose own box fits a given one best, trust breaking near ties; None where no centre agrees."""
    scored = []
    for finding, trust in people:
        own = finding_box(finding, image_size)
        if centre_offset(own, box) < 0.25:
            scored.append((box_iou(own, box) * trust**0.25, finding, trust))
    return max(scored, key=lambda item: item[0])[1:] if scored else None


def to_detection(finding: Finding, trust: float, scale: tuple[float, float], image_size: tuple[int, int]) -> Detection:
    """A finding in the shrunk image as a `Detection` in the full one (height, width)."""
    factor = np.array(scale, np.float32)
    landmarks = finding.landmarks.copy()
    landmarks[:, :2] = (landmarks[:, :2] + 0.5) / factor - 0.5
    keypoints, confidence = landmarks_to_keypoints(landmarks, image_size)
    mask = upright_mask(finding, scale)
    found = Detection(
        keypoints=keypoints,
        confidence=confidence,
        box=person_box(landmarks, mask, image_size, reach=0.12 * finding.size / min(scale)),
        score=float(trust),
        mask=mask,
        landmarks3d=np.concatenate([finding.world, finding.landmarks[:33, 3:4]], axis=1),
        detector=f"{detector_name(finding.network == 'heavy')}-0.10.21",
    )
    if finding.other is None:
        return found
    return with_alternative(found, to_detection(finding.other, trust, scale, image_size))


def with_alternative(found: Detection, other: Detection) -> Detection:
    """A detection with another reading of the person as its `alternative`, where they disagree on sides."""
    exchanged = exchanged_parts(found.keypoints, found.confidence, other.keypoints, other.confidence)
    if not exchanged:
        return found
    kept = OtherReading(other.keypoints, other.confidence, other.landmarks3d, other.detector, exchanged)
    return replace(found, alternative=kept)


def upright_mask(finding: Finding, scale: tuple[float, float]) -> PersonMask:
    """The segmentation of a turned region on an upright grid over the region's bounding square."""
    cx, cy, side, angle = finding.region
    count = finding.alpha.shape[0]
    half = side / 2 * (abs(np.cos(angle)) + abs(np.sin(angle)))
    steps = (np.arange(count) + 0.5) / count * 2 * half - half
    x, y = np.meshgrid(steps, steps)
    column = (np.cos(angle) * x + np.sin(angle) * y) / side * count + count / 2 - 0.5
    row = (-np.sin(angle) * x + np.cos(angle) * y) / side * count + count / 2 - 0.5
    alpha = map_coordinates(finding.alpha.astype(np.float32), [row, column], order=1, mode="constant", cval=0.0)
    corners = [(cx - half, 0), (cy - half, 1), (cx + half, 0), (cy + half, 1)]
    x0, y0, x1, y1 = (float((v + 0.5) / scale[axis] - 0.5) for v, axis in corners)
    return PersonMask(np.round(alpha).astype(np.uint8), (x0, y0, x1, y1))


def person_box(
    landmarks: Float32[np.ndarray, "35 5"], mask: PersonMask, image_size: tuple[int, int], *, reach: float
) -> Float32[np.ndarray, " 4"]:
    """Box around the confident landmarks in the image, grown to the mask's edges within `reach` pixels.

    Landmarks are joints; the mask adds the top of the head and the width of the limbs.
    """
    height, width = image_size
    chosen = inside_image(landmarks[:33, :2], image_size) & (landmarks[:33, 3] > 0.3)
    points = (
        landmarks[:33, :2][chosen] if chosen.sum() >= 2 else np.clip(landmarks[:33, :2], 0, [width - 1, height - 1])
    )
    low, high = points.min(0), points.max(0)
    rows, columns = np.nonzero(mask.alpha > 127)
    x0, y0, x1, y1 = mask.region
    x = x0 + (columns + 0.5) / mask.alpha.shape[1] * (x1 - x0)
    y = y0 + (rows + 0.5) / mask.alpha.shape[0] * (y1 - y0)
    near = (x > low[0] - reach) & (x < high[0] + reach) & (y > low[1] - reach) & (y < high[1] + reach)
    if near.any():
        low = np.minimum(low, [x[near].min(), y[near].min()])
        high = np.maximum(high, [x[near].max(), y[near].max()])
    box = np.concatenate([np.maximum(low, -0.5), np.minimum(high, [width - 0.5, height - 0.5])])
    return box.astype(np.float32)


def make_mediapipe(setting: DetectorSetting) -> Detector:
    """The detector `mediapipe`, of the environment that `hmralign setup-detector` made."""
    return MediapipeDetector(config=ONE_PERSON if setting.one_person else None)
