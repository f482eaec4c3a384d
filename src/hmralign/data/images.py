"""Photos from disk, memory or Pillow as upright 8-bit RGB, with limits on what is decoded.

Files are somebody else's bytes: only the raster formats of `photo_formats` are opened, the size in the header is
checked before anything is decoded, and a truncated file is an error, not a half grey photo. Colour profiles are not
applied.
"""

from __future__ import annotations

import glob
import hashlib
import io
import logging
import math
import os
import stat
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image

from hmralign.data.photo_formats import (
    FORMATS,
    formats_of,
    image_suffixes,
    is_open_format,
    kinds_of_unused,
    missing_reader,
)
from hmralign.structures import InputError
from hmralign.structures.counted import counted

logger = logging.getLogger("hmralign.data")

MAX_PIXELS = 100_000_000
"""Larger images are refused by their header."""
DOWNSCALE_PIXELS = 25_000_000
"""Larger images are reduced to `MAX_LONG_SIDE`."""
MAX_LONG_SIDE = 4096
MIN_SIDE = 16
MAX_FILE_BYTES = 1 << 29

_MPO = (
    "MPO"  # a JPEG that carries further pictures; Pillow's JPEG plugin returns it, and the first picture is the photo
)
_EXIF_TAGS: dict[int, str] = {
    ExifTags.Base.FocalLength: "FocalLength",
    ExifTags.Base.FocalLengthIn35mmFilm: "FocalLengthIn35mmFilm",
    ExifTags.Base.FocalPlaneXResolution: "FocalPlaneXResolution",
    ExifTags.Base.FocalPlaneResolutionUnit: "FocalPlaneResolutionUnit",
    ExifTags.Base.ExifImageWidth: "PixelXDimension",
    ExifTags.Base.ExifImageHeight: "PixelYDimension",
}
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@runtime_checkable
class ByteStream(Protocol):
    """A file opened in binary mode, or anything that reads like one."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes."""
        ...


ImageSource = str | Path | ByteStream | np.ndarray | Image.Image


@dataclass(frozen=True)
class LoadedImage:
    """An upright photo.

    `rgb` is contiguous and owned by this object. `original_size` is (width, height) upright before any downscaling, and
    `scale` = (width / original width, height / original height): pixels that come from a file with coordinates of the
    original photo go through `geometry.cameras.scaled_pixels(pixels, scale)`, a `K` through `scaled_intrinsics`. `exif`
    holds the few numbers `geometry.cameras.intrinsics_from_exif` reads (no place, no date). `sha256` is that of the
    file's bytes, None where there was no file.
    """

    rgb: UInt8[np.ndarray, "height width 3"]
    name: str
    original_size: tuple[int, int]
    scale: tuple[float, float] = (1.0, 1.0)
    exif: Mapping[str, float] = field(default_factory=dict)
    sha256: str | None = None

    @property
    def width(self) -> int:
        """Width of `rgb` in pixels."""
        return self.rgb.shape[1]

    @property
    def height(self) -> int:
        """Height of `rgb` in pixels."""
        return self.rgb.shape[0]


def load_image(source: ImageSource) -> LoadedImage:
    """Load a photo from a path, a binary file object, a uint8 RGB array (H, W[, 3 or 4]) or a Pillow image.

    EXIF orientation is applied; transparency is put on white; grey, palette, CMYK and 16-bit images become 8-bit RGB;
    of an animation or a multi-page file the first picture is used. Above 25 MP the photo is reduced to a long side of
    4096 (logged, see `LoadedImage.scale`). Broken EXIF is none (logged). Raises `InputError` naming the source:
    missing, unreadable, empty, of another format, truncated, above 100 MP, or smaller than 16 x 16.
    """
    if isinstance(source, np.ndarray):
        return _load_array(source)
    if isinstance(source, Image.Image):
        name = str(getattr(source, "filename", "") or "image")
        if source.format != _MPO and not is_open_format(source.format):
            raise InputError(f"'{name}' is a {source.format} image; expected one of {', '.join(FORMATS)}.")
        return _load(source, name, None)
    if isinstance(source, str | Path):
        name, data = str(source), _read_file(Path(source))
    else:
        name, data = str(getattr(source, "name", "file object")), _read_stream(source)
    return _load(_open(data, name), name, hashlib.sha256(data).hexdigest())


def load_cutout(path: str | Path) -> Image.Image:
    """A picture of somebody who was cut out, RGBA with transparency around, upright, of its own size.

    Raises `InputError` as `load_image`, and for a picture without transparency.
    """
    name, data = str(path), _read_file(Path(path))
    image = _open(data, name)
    _require_size(*image.size, name)
    try:
        image.load()
        if not image.has_transparency_data:
            raise InputError(f"'{name}' has no transparency; expected a person who was cut out, or their mask beside.")
        orientation, rgba = _read_exif(image, name)[0], image.convert("RGBA")
    except (InputError, MemoryError):
        raise
    except Exception as error:  # decoders of foreign bytes raise whatever they like
        raise InputError(f"'{name}' is damaged or cut off ({error}); expected a complete image.") from error
    return rgba.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else rgba


def expand_inputs(inputs: Iterable[str | Path]) -> list[Path]:
    """Image files named by files, folders and glob patterns (`**` crosses folders), sorted, each once.

    A file is taken as it is. Of folders (not their subfolders) and patterns only files with an image suffix count, and
    hidden ones do not; one warning says how many of what kind are not used. Raises `InputError` for an entry that names
    nothing.
    """
    found: dict[Path, Path] = {}
    unused: dict[Path, Path] = {}
    for entry in inputs:
        images, others = _expand(str(entry))
        for path in images:
            found.setdefault(path.resolve(), path)
        unused.update((path.resolve(), path) for path in others)
    if not found:
        raise InputError("No input was given; expected image files, folders or patterns such as 'photos/*.jpg'.")
    if said := _unused_words(path for resolved, path in unused.items() if resolved not in found):
        logger.warning("not used: %s", said)
    return sorted(found.values())


def _unused_words(others: Iterable[Path]) -> str:
    """Files by kind, then folders, in which there are pictures that nobody asked for."""
    files, folders = [], 0
    for path in others:
        if path.is_dir():
            folders += _has_images(path)
        else:
            files.append(path)
    said = [words] if (words := kinds_of_unused(files)) else []
    if folders:
        said.append(f"{counted(folders, 'subfolder')} with pictures (a pattern such as 'photos/**/*.jpg' enters them)")
    return ", ".join(said)


def _has_images(folder: Path) -> bool:
    try:
        return any(path.suffix.lower() in image_suffixes() for path in folder.iterdir())
    except OSError:
        return False


def _expand(entry: str) -> tuple[list[Path], list[Path]]:
    """The images that an entry names, and what else it names."""
    if os.path.isdir(entry):
        try:
            candidates = list(Path(entry).iterdir())
        except OSError as error:
            raise InputError(f"'{entry}' cannot be read ({error.strerror}); expected a readable folder.") from error
    elif os.path.exists(entry):
        return [Path(entry)], []
    elif glob.has_magic(entry):
        candidates = [Path(match) for match in glob.glob(entry, recursive=True)]
    else:
        raise InputError(f"'{entry}' does not exist; expected an image file, a folder or a pattern.")
    suffixes = image_suffixes()
    shown = [p for p in candidates if p.name[0] != "."]
    images = [p for p in shown if p.suffix.lower() in suffixes and p.is_file()]
    others = sorted(set(shown) - set(images))
    if not images:
        there = f", but there is: {words}" if (words := _unused_words(others)) else ""
        raise InputError(f"'{entry}' matches no image; expected files ending in {', '.join(sorted(suffixes))}{there}.")
    return images, others


def _read_file(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode  # before opening: opening a pipe waits for ever
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"'{path}' does not exist; expected an image file.") from error
    except (OSError, ValueError) as error:
        raise InputError(f"'{path}' cannot be read ({error}); expected a readable image file.") from error
    if stat.S_ISDIR(mode):
        raise InputError(f"'{path}' is a folder; expected one image file.")
    if not stat.S_ISREG(mode):
        raise InputError(f"'{path}' is a device or a pipe; expected an image file.")
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InputError(f"'{path}' cannot be read ({error.strerror}); expected a readable image file.") from error
    return _checked_bytes(data, str(path))


def _read_stream(stream: ByteStream) -> bytes:
    if not isinstance(stream, ByteStream):
        raise InputError(f"A {type(stream).__name__} is no image; expected a path, a file, an array or a Pillow image.")
    name = str(getattr(stream, "name", "file object"))
    data = stream.read(MAX_FILE_BYTES + 1)
    if not isinstance(data, bytes):
        raise InputError(f"'{name}' is open as text; expected a file opened in binary mode.")
    return _checked_bytes(data, name)


def _checked_bytes(data: bytes, name: str) -> bytes:
    if not data:
        raise InputError(f"'{name}' is empty; expected an image file.")
    if len(data) > MAX_FILE_BYTES:
        raise InputError(f"'{name}' has more than {MAX_FILE_BYTES >> 20} MiB; expected a smaller image file.")
    return data


def _open(data: bytes, name: str) -> Image.Image:
    """Read the header only."""
    try:
        with warnings.catch_warnings():
            # Pillow warns below our own limit and raises above; both go by the header alone.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(data), formats=formats_of(data))
    except Image.DecompressionBombError as error:
        raise InputError(f"'{name}' claims more than {MAX_PIXELS // 10**6} megapixels; expected fewer.") from error
    except Exception as error:  # decoders of foreign bytes raise whatever they like
        said = missing_reader(data) or "not an image that can be read"
        raise InputError(f"'{name}' is {said}; expected {', '.join(FORMATS)}.") from error


def _load_array(array: np.ndarray) -> LoadedImage:
    """An RGB photo of fitting size is copied once; all others go the way of files."""
    if array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3:
        height, width = array.shape[:2]
        _require_size(width, height, "array")
        if _target_size(width, height) == (width, height):
            return LoadedImage(np.array(array, order="C"), "array", (width, height))
    return _load(_from_array(array), "array", None)


def _from_array(array: np.ndarray) -> Image.Image:
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.dtype != np.uint8:
        raise InputError(f"The image array has dtype {array.dtype}; expected uint8 with values 0..255.")
    if array.ndim not in (2, 3) or (array.ndim == 3 and channels not in (3, 4)):
        raise InputError(f"The image array has shape {array.shape}; expected (H, W), (H, W, 3) RGB or (H, W, 4) RGBA.")
    return Image.fromarray(np.ascontiguousarray(array))


def _require_size(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS:
        raise InputError(f"'{name}' has {width} x {height} pixels; expected at most {MAX_PIXELS // 10**6} megapixels.")
    if min(width, height) < MIN_SIDE:
        raise InputError(f"'{name}' has {width} x {height} pixels; expected at least {MIN_SIDE} x {MIN_SIDE}.")


def _load(image: Image.Image, name: str, sha256: str | None) -> LoadedImage:
    stored_size = image.size
    _require_size(*stored_size, name)
    try:
        if sha256 is not None:  # only images opened here: this changes the image itself
            image.draft(None, _target_size(*stored_size))  # JPEG decodes at 1/2, 1/4 or 1/8, at least of that size
        image.load()
        orientation, numbers = _read_exif(image, name)
        rgb = _to_rgb(image, name)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # decoders of foreign bytes raise whatever they like
        raise InputError(f"'{name}' is damaged or cut off ({error}); expected a complete image.") from error
    width, height = stored_size if image.format in ("JPEG", _MPO) else rgb.size
    if orientation in _UPRIGHT:
        rgb = rgb.transpose(_UPRIGHT[orientation])
        width, height = (height, width) if orientation >= 5 else (width, height)
    rgb = _downscaled(rgb, width, height, name)
    scale = rgb.width / width, rgb.height / height
    return LoadedImage(np.array(rgb, dtype=np.uint8, order="C"), name, (width, height), scale, numbers, sha256)


def _read_exif(image: Image.Image, name: str) -> tuple[int, dict[str, float]]:
    """Orientation and numbers; of a block that is none nothing is known.

    Asked after loading: PNG may carry it behind the pixels, and TIFF turns itself upright.
    """
    try:
        exif = image.getexif()
        turn = exif.get(ExifTags.Base.Orientation, 1)
        return turn if isinstance(turn, int) else 1, _numbers(exif)
    except MemoryError:
        raise
    except Exception as error:  # decoders of foreign bytes raise whatever they like
        logger.warning("%s: its EXIF is damaged (%s) and counts as none: not turned, camera unknown", name, error)
        return 1, {}


def _downscaled(rgb: Image.Image, width: int, height: int, name: str) -> Image.Image:
    """Reduce a photo of originally `width` x `height` pixels to its target size."""
    target = _target_size(width, height)
    if target == (width, height):
        return rgb
    _require_size(*target, name)
    logger.warning(
        "%s: %d x %d pixels reduced to %d x %d; pixel coordinates refer to the smaller image",
        *(name, width, height, *target),
    )
    return rgb.resize(target, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _target_size(width: int, height: int) -> tuple[int, int]:
    if width * height <= DOWNSCALE_PIXELS:
        return width, height
    factor = MAX_LONG_SIDE / max(width, height)
    return round(width * factor), round(height * factor)


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode in ("I", "F", "I;16", "I;16L", "I;16B", "I;16N"):
        image = _to_8_bit(image, name)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGB", rgba.size, "white")
        white.paste(rgba, mask=rgba.getchannel("A"))
        return white
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_8_bit(image: Image.Image, name: str) -> Image.Image:
    """Grey of 16 bits by dividing by 257; Pillow itself would clip at 255."""
    grey = np.asarray(image)
    if image.mode == "F" or grey.min() < 0 or grey.max() > 65535:
        raise InputError(f"'{name}' has {image.mode} pixels of unknown range; expected 8 or 16 bits per channel.")
    return Image.fromarray(((grey.astype(np.uint32) + 128) // 257).astype(np.uint8))


def _numbers(exif: Image.Exif) -> dict[str, float]:
    """The tags of `_EXIF_TAGS` that are finite numbers."""
    values = {}
    for tag, value in exif.get_ifd(ExifTags.IFD.Exif).items():
        try:
            number = float(value)
        except (TypeError, ValueError, ZeroDivisionError):
            continue
        if tag in _EXIF_TAGS and math.isfinite(number):
            values[_EXIF_TAGS[tag]] = number
    return values
