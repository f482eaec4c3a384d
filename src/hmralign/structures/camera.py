"""The camera of one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

IntrinsicsSource = Literal["given", "exif", "estimated"]


@dataclass(frozen=True)
class Camera:
    """Pinhole camera of one full image.  Pixel (0, 0) is the centre of the top-left pixel.

    `source` says where `K` comes from. An estimated `K` is a guess from the image size; whoever uses it must not
    treat viewing rays as evidence.
    """

    K: Float[Tensor, "3 3"]
    width: int
    height: int
    source: IntrinsicsSource

    @property
    def known(self) -> bool:
        """Whether the intrinsics were given or read from EXIF rather than guessed."""
        return self.source != "estimated"
