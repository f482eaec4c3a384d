"""What a model may see of a person (`Observation`), and what only evaluation may see (`Annotation`)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from hmralign.structures.body_params import BodyParams
from hmralign.structures.tensor_record import TensorRecord

MASK_SIZE = 48
"""Side of the low-resolution person mask, in cells of the square crop around the box."""


@dataclass(frozen=True)
class Observation(TensorRecord):
    """2D evidence on persons; leading axes are batch axes (one person each).

    `keypoints` are in full-image pixels, in the order of `body.skeleton.KEYPOINT_NAMES`; a keypoint that was not
    observed has confidence 0 and any finite coordinates. `box` is (x0, y0, x1, y1) in pixels. `mask` is the share of
    person pixels per cell of the square crop of side `1.25 * max(width, height)` around the box centre; all zeros
    where `has_mask` is false. `knows_camera` says whether `K` is known rather than guessed. `crop` are the RGB pixels
    of the same square, None where nobody keeps pixels; zeros where `has_crop` is false.
    """

    keypoints: Float[Tensor, "*batch kp 2"]
    confidence: Float[Tensor, "*batch kp"]
    box: Float[Tensor, "*batch 4"]
    K: Float[Tensor, "*batch 3 3"]
    knows_camera: Bool[Tensor, "*batch"]
    mask: Float[Tensor, "*batch mask_h mask_w"]
    has_mask: Bool[Tensor, "*batch"]
    crop: UInt8[Tensor, "*batch 3 side side"] | None = None
    has_crop: Bool[Tensor, "*batch"] | None = None

    @property
    def batch_shape(self) -> torch.Size:
        """Shape of the leading axes."""
        return self.box.shape[:-1]


@dataclass(frozen=True)
class Annotation(TensorRecord):
    """Ground truth of an `Observation`; never shown to a model. Frame `cam`, metres.

    `vertices` are there where the truth is a mesh that `body` comes near to and no more, as of EHF: errors of surfaces
    are measured on them.
    """

    body: BodyParams
    joints: Float[Tensor, "*batch joints 3"]
    vertices: Float[Tensor, "*batch vert 3"] | None = None


@dataclass(frozen=True)
class Landmarks3d(TensorRecord):
    """A detector's own opinion on where keypoints are in 3D: a hint that critics may look at, never truth.

    `points` are metres from an arbitrary origin, in the axes of the `cam` frame and the order of
    `body.skeleton.KEYPOINT_NAMES`; one that the detector does not give, or gives for something it did not see, has
    confidence 0 and any finite coordinates. A person without landmarks has confidence 0 everywhere.
    """

    points: Float[Tensor, "*batch kp 3"]
    confidence: Float[Tensor, "*batch kp"]


@dataclass(frozen=True)
class Example(TensorRecord):
    """One dataset item. `annotation` is None where there is no truth, or where it was removed on purpose.

    `landmarks3d` are for critics; a model sees the observation alone. None where no detector gave any.
    """

    observation: Observation
    annotation: Annotation | None = None
    landmarks3d: Landmarks3d | None = None
