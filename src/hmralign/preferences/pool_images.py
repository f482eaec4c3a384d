"""The persons of a published pool as a policy sees them: images below one folder, and the squares of their crops.

A record says by an affine which part of its image was cut. Here the upright square of the same middle and size is cut,
and samples are moved onto it; for a crop that was not turned both are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hmralign.body.skeleton import NUM_KEYPOINTS
from hmralign.data.images import load_image
from hmralign.detection.person_crop import with_crops
from hmralign.geometry.cameras import CROP_MARGIN, apply_affine, crop_affine, estimate_intrinsics, scaled_pixels
from hmralign.preferences.published_pool import CROP_SIDE, PublishedPool
from hmralign.structures import InputError, Observation
from hmralign.structures.counted import counted
from hmralign.structures.errors import shown
from hmralign.structures.observation import MASK_SIZE

_LARGEST_TURN = 1e-3
"""Entries beside the diagonal of an affine, as a share of its size, up to which a crop counts as upright."""


@dataclass(frozen=True)
class PoolImages:
    """Images of a pool's records below `root`, read when they are asked for.

    Raises InputError, when made, for a path that leaves the folder, an image that is not there, and an affine that
    mirrors or is singular.
    """

    pool: PublishedPool
    root: Path

    def __post_init__(self) -> None:
        missing = [name for name in dict.fromkeys(self.pool.image_paths) if not self.path(name).is_file()]
        if missing:
            raise InputError(
                f"{self.root}: {counted(len(missing), 'image')} of the pool cannot be found, such as "
                f"'{shown(missing[0])}'"
            )
        zoom = torch.linalg.det(self.pool.A_image_crop[:, :, :2].double())
        if not bool((zoom > 0).all()):
            raise InputError("an affine of the pool mirrors its crop or has no inverse; expected crops as cut")

    def path(self, name: str) -> Path:
        """Where an image lies. Raises InputError for a name that leads out of the folder, by itself or by a link."""
        parts = PurePosixPath(name.replace("\\", "/"))
        root = self.root.resolve()
        place = (root / parts).resolve()
        if parts.is_absolute() or ".." in parts.parts or not place.is_relative_to(root) or place == root:
            raise InputError(f"the pool names the image '{shown(name)}', which is not below {self.root}")
        return place

    @property
    def boxes(self) -> Float[Tensor, "record 4"]:
        """Boxes whose crops are the squares, in pixels of the images."""
        A = self.pool.A_image_crop.double()
        middle = torch.full((len(A), 1, 2), (CROP_SIDE - 1) / 2, dtype=A.dtype)
        centre = apply_affine(A, middle)[:, 0]
        half = (CROP_SIDE * torch.linalg.det(A[:, :, :2]).sqrt() / CROP_MARGIN / 2)[:, None]
        return torch.cat([centre - half, centre + half], dim=-1).float()

    @property
    def is_upright(self) -> bool:
        """Whether no crop was turned, so that the squares are the crops themselves."""
        A = self.pool.A_image_crop
        return bool(((A[:, 0, 1].abs() + A[:, 1, 0].abs()) <= _LARGEST_TURN * A[:, 0, 0].abs()).all())

    def samples(self) -> Float[Tensor, "record member 133"]:
        """x_0 over the squares."""
        return self.pool.samples(None if self.is_upright else crop_affine(self.boxes, CROP_SIDE)[0])

    def unseen(self) -> Observation:
        """All records without pixels, for methods that look at samples and scores alone; no image is read."""
        return _known_by_box(self.boxes, CROP_SIDE, CROP_SIDE)

    def observation(self, index: Int[Tensor, " n"], side: int) -> Observation:
        """Some of the records as persons with pixels and nothing else: no keypoint, no mask, a guessed camera.

        Raises InputError as `load_image`.
        """
        boxes = self.boxes
        return Observation.cat([self._seen(int(n), boxes[n], side) for n in index])

    def _seen(self, number: int, box: Float[Tensor, " 4"], side: int) -> Observation:
        image = load_image(self.path(self.pool.image_paths[number]))
        box = box if image.scale == (1.0, 1.0) else scaled_pixels(box.view(2, 2), image.scale).view(4)
        return with_crops(_known_by_box(box[None], image.width, image.height), image.rgb, side)


def _known_by_box(boxes: Float[Tensor, "n 4"], width: int, height: int) -> Observation:
    n = len(boxes)
    return Observation(
        keypoints=torch.zeros(n, NUM_KEYPOINTS, 2),
        confidence=torch.zeros(n, NUM_KEYPOINTS),
        box=boxes,
        K=estimate_intrinsics(width, height).K.expand(n, 3, 3),
        knows_camera=torch.zeros(n, dtype=torch.bool),
        mask=torch.zeros(n, MASK_SIZE, MASK_SIZE),
        has_mask=torch.zeros(n, dtype=torch.bool),
    )
