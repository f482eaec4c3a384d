"""What a detector says about one person, and the interface of all detectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, UInt8

from hmralign.body.skeleton import NUM_KEYPOINTS
from hmralign.detection.person_mask import PersonMask
from hmralign.detection.sides import Part


@dataclass(frozen=True)
class OtherReading:
    """How another network read the same person, where it has left and right the other way round.

    `exchanged` says of what: "body" (also: front and back), "legs", "arms". The rest is as in `Detection`. It is what
    the person would be if the detector's own reading had the sides wrong, so it is evidence, not an error.
    """

    keypoints: Float32[np.ndarray, "kp 2"]
    confidence: Float32[np.ndarray, " kp"]
    landmarks3d: Float32[np.ndarray, "33 4"] | None
    detector: str
    exchanged: tuple[Part, ...]


@dataclass(frozen=True)
class Detection:
    """One person found in one image.

    `keypoints` are pixels of the full image in the order of `body.skeleton.KEYPOINT_NAMES`; a keypoint that was not
    observed, or lies outside the image, has confidence 0 and finite coordinates. `box` is (x0, y0, x1, y1).
    `landmarks3d` are the detector's raw metric landmarks (x, y, z about the middle of the hips in image axes, and
    visibility) where it gives any; they are a hint, not truth. `noise_file` is the path of noise measured for this very
    detector (`load_measured_noise` reads it), None where only its name says how noisy it is. `alternative` is another
    network's reading, kept only where the two disagree on sides (`sides.exchanged_parts`).
    """

    keypoints: Float32[np.ndarray, "kp 2"]
    confidence: Float32[np.ndarray, " kp"]
    box: Float32[np.ndarray, " 4"]
    score: float
    mask: PersonMask | None = None
    landmarks3d: Float32[np.ndarray, "33 4"] | None = None
    detector: str = "unknown"
    noise_file: str | None = None
    alternative: OtherReading | None = None

    @staticmethod
    def of_box(box: Float[np.ndarray, " 4"], score: float = 1.0, detector: str = "box") -> Detection:
        """A person known only by a box (x0, y0, x1, y1)."""
        nowhere, unseen = np.zeros((NUM_KEYPOINTS, 2), np.float32), np.zeros(NUM_KEYPOINTS, np.float32)
        return Detection(nowhere, unseen, box.astype(np.float32), score, detector=detector)

    @property
    def has_keypoints(self) -> bool:
        """Whether any keypoint was observed; false for a person given only by a box."""
        return bool((self.confidence > 0).any())

    @property
    def sides_disagree(self) -> bool:
        """Whether two networks read this person's left and right, of the body, legs or arms, the other way round."""
        return self.alternative is not None


@runtime_checkable
class Detector(Protocol):
    """Finds people in a photo."""

    def __call__(self, image: UInt8[np.ndarray, "height width 3"]) -> list[Detection]:
        """People in an RGB image, the most certain first; an empty list when there is nobody."""
        ...

    def detect_in_box(
        self, image: UInt8[np.ndarray, "height width 3"], box: Float[np.ndarray, " 4"]
    ) -> Detection | None:
        """The person that a box (x0, y0, x1, y1) was drawn around, or None rather than somebody else."""
        ...
