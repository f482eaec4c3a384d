"""What a model is shown of a person whom it is to describe: the photo around the person, with a red box."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from hmralign.overlays.hypothesis_tile import TILE_STEP, marked_picture
from hmralign.overlays.overlay import Photo, cut_photo, person_window
from hmralign.structures import InputError, Observation


@dataclass(frozen=True)
class PersonPicture:
    """How a person is shown."""

    side: int = 512
    """Side of the square picture, pixels; a multiple of 32, which vision models read without resizing."""
    outline: bool = True
    """Whether the person has a red box."""
    quality: int = 90
    """Quality of the JPEG file."""

    def __post_init__(self) -> None:
        """Raise InputError for a size that no vision model reads as it is, and for a quality that is none."""
        if self.side < 2 * TILE_STEP or self.side % TILE_STEP:
            raise InputError(
                f"the side of a person's picture is {self.side}; expected a multiple of {TILE_STEP}, at least "
                f"{2 * TILE_STEP}"
            )
        if not 1 <= self.quality <= 95:
            raise InputError(f"JPEG quality is {self.quality}; expected 1 to 95")


def person_jpeg(photo: Photo, seen: Observation, style: PersonPicture, *, mirrored: bool = False) -> bytes:
    """JPEG of one person (no batch axis), as seen or in the mirror; the same arguments give the same bytes.

    Raises InputError for an empty box.
    """
    window = person_window(seen.box)
    picture, _ = cut_photo(photo, window, (style.side, style.side))
    picture = marked_picture(picture, window, seen, is_photo=True, outline=style.outline)
    file = BytesIO()
    shown = Image.fromarray(np.ascontiguousarray(picture[:, ::-1] if mirrored else picture))
    shown.save(file, "JPEG", quality=style.quality, subsampling=0)
    return file.getvalue()
