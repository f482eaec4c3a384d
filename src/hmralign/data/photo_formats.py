"""Which pictures can be opened here, and what else lies beside them.

Only raster formats are opened, never one that runs an interpreter, such as EPS or SVG. Two more are opened where there
is a reader for them: AVIF by Pillow itself from 11.3 on, HEIC by the extra `[heif]`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from PIL import features

from hmralign.structures.counted import counted

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
"""Opened everywhere."""

_ALWAYS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".pbm", ".pnm"})
_HEIC = frozenset({".heic", ".heif", ".hif"})
_AVIF = frozenset({".avif"})

_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")

_HEIC_ADVICE = "pip install 'hmralign[heif]' reads them"
_AVIF_ADVICE = "a newer Pillow reads them: pip install 'pillow>=11.3'"

_KINDS = {
    "video": "mp4 mov m4v avi mkv webm mpg mpeg 3gp mts m2ts wmv",
    "RAW photo": "dng cr2 cr3 nef nrw arw srf sr2 orf rw2 raf pef srw raw",
    "other picture": "svg eps psd xcf jxl jp2 ico ai heics pdf",
    "text file": "txt md csv tsv html htm log rtf doc docx xml xmp aae",
    "JSON file": "json jsonl",
    "archive": "zip tar gz tgz 7z rar",
}
_KIND_OF = {f".{suffix}": kind for kind, suffixes in _KINDS.items() for suffix in suffixes.split()}


def _reads_avif() -> bool:
    return "avif" in features.modules and bool(features.check("avif"))


def _reads_heic() -> bool:
    return find_spec("pillow_heif") is not None


def image_suffixes() -> frozenset[str]:
    """Lower-case suffixes of the pictures that can be opened here."""
    return _ALWAYS | (_HEIC if _reads_heic() else frozenset()) | (_AVIF if _reads_avif() else frozenset())


def formats_of(data: bytes) -> tuple[str, ...]:
    """The formats, by Pillow's names, as which a file with these bytes may be opened; readies the reader it needs."""
    brand = data[8:12] if data[4:8] == b"ftyp" else b""
    if brand in _AVIF_BRANDS and _reads_avif():
        return ("AVIF",)
    if brand in _HEIC_BRANDS and _reads_heic():
        import pillow_heif

        pillow_heif.register_heif_opener()
        return ("HEIF",)
    return FORMATS


def is_open_format(name: str | None) -> bool:
    """Whether Pillow's name of a format is one of those that are opened; None is a picture made in memory."""
    return name is None or name in (*FORMATS, "AVIF", "HEIF")


def missing_reader(data: bytes) -> str | None:
    """What a picture is that cannot be opened here but could be, and how; None for any other file."""
    brand = data[8:12] if data[4:8] == b"ftyp" else b""
    if brand in _HEIC_BRANDS and not _reads_heic():
        return f"a HEIC photo ({_HEIC_ADVICE})"
    if brand in _AVIF_BRANDS and not _reads_avif():
        return f"an AVIF photo ({_AVIF_ADVICE})"
    return None


def kinds_of_unused(files: Iterable[Path]) -> str:
    """How many files of each kind there are, in words; empty for none.

    >>> kinds_of_unused([Path("a.CR2"), Path("b.dng"), Path("notes.txt"), Path("x.blend")])
    '2 RAW photos, 1 .blend file, 1 text file'
    """
    counts = Counter(_kind_of(file.suffix.lower()) for file in files)
    return ", ".join(
        _words(kind, count) for kind, count in sorted(counts.items(), key=lambda kind: (-kind[1], kind[0]))
    )


def _kind_of(suffix: str) -> str:
    if suffix in _HEIC or suffix in _AVIF:
        return "HEIC photo" if suffix in _HEIC else "AVIF photo"
    if suffix in _ALWAYS:
        return "unreadable entry"
    return _KIND_OF.get(suffix, f"{suffix} file" if suffix else "file without a suffix")


def _words(kind: str, count: int) -> str:
    advice = {
        "HEIC photo": _HEIC_ADVICE,
        "AVIF photo": _AVIF_ADVICE,
        "video": "each is a run of its own: hmralign recover FILE",
    }.get(kind)
    several = "files without a suffix" if kind == "file without a suffix" else None
    several = "unreadable entries" if kind == "unreadable entry" else several
    return counted(count, kind, several) + (f" ({advice})" if advice else "")
