"""Pictures of persons from several sides at once."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from hmralign.structures.tensor_record import TensorRecord

VIEW_CHANNELS = 4
"""Channels of a view: three of the normal, one of the mask."""


@dataclass(frozen=True)
class MultiViews(TensorRecord):
    """Views of persons, leading axes `(*person, view)`; view 0 is the front, the side that the photo shows.

    `pixels` channels 0 to 2 are the surface's unit normal in that view's own camera frame (x right, y down, z forward,
    so a surface that faces the camera has z = -1), each -1 to 1 and multiplied by the mask; channel 3 is the mask, the
    share of the pixel that the person covers, 0 to 1. Background is zero everywhere.
    """

    pixels: Float[Tensor, "*person view 4 height width"]

    @property
    def normals(self) -> Float[Tensor, "*person view 3 height width"]:
        """Normals times mask."""
        return self.pixels[..., :3, :, :]

    @property
    def mask(self) -> Float[Tensor, "*person view height width"]:
        """Share of each pixel that the person covers."""
        return self.pixels[..., 3, :, :]

    @property
    def front(self) -> Float[Tensor, "*person 4 height width"]:
        """The view that a model is given."""
        return self.pixels[..., 0, :, :, :]

    @property
    def num_views(self) -> int:
        """Views of each person."""
        return self.pixels.shape[-4]

    def mirrored(self) -> MultiViews:
        """What the same ring of cameras sees of the persons' mirror images.

        The mirror is the upright plane through the middle of the front view. Azimuths must be the negatives of
        themselves as a set, in the order of `RingCameras`: view v becomes the flipped view at minus its azimuth.
        """
        order = [-view % self.num_views for view in range(self.num_views)]
        flipped = self.pixels[..., order, :, :, :].flip(-1)
        return MultiViews(flipped * flipped.new_tensor([-1.0, 1.0, 1.0, 1.0]).view(VIEW_CHANNELS, 1, 1))
