"""Files of predictions, in any format that is read: which format it is, and the persons of all files together."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from hmralign.adapters.faults import Faults
from hmralign.adapters.predictions.card import PredictionCard
from hmralign.adapters.predictions.content import Content, read_content
from hmralign.adapters.predictions.names import FORMATS, SUFFIXES
from hmralign.adapters.predictions.rows import predictions_of
from hmralign.body.npz_file import npz_sizes
from hmralign.data.prediction_file import PredictionFile, file_sha256, read_predictions
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.structures.errors import shown

MAX_FILES = 1_000_000

_OWN = ("id", "skeleton", "keypoints", "confidence", "K")
"""Arrays that every file of `data.prediction_file` has."""


def prediction_cards() -> list[PredictionCard]:
    """The cards of all formats."""
    return [importlib.import_module(module).CARD for module in FORMATS.values()]


def open_predictions(paths: Sequence[str | Path]) -> PredictionFile:
    """The persons of some files, or of those in folders, which all have one format.

    Persons that cannot be used are left out by name, and counted. Raises InputError where there is no file, one is of
    no format that is read (saying what was found, and what is read), or two are of different ones.
    """
    files = _files([Path(path) for path in paths])
    if is_own_format(files[0]):
        if len(files) > 1:
            raise InputError(f"{files[1]}: is a second file; of the format {files[0]} has, one is read")
        return read_predictions(files[0])
    name, rows, faults, digest = "", [], Faults(), hashlib.sha256()
    for path in files:
        content = read_content(path)
        found = format_of(content)
        if name not in ("", found):
            raise InputError(f"{path}: holds predictions of the format {found}, the files before of {name}")
        name = found
        rows += _module(name).rows(content, faults)
        digest.update(file_sha256(path).encode())
    return predictions_of(files, digest.hexdigest(), _module(name).CARD, rows, faults)


def is_own_format(path: Path) -> bool:
    """Whether a file is of the package's own format (`data.prediction_file`), or nearly so."""
    if path.suffix != ".npz" or not path.is_file():
        return False
    there = npz_sizes(path)
    return {"id", "skeleton"} <= set(there) or sum(name in there for name in _OWN) >= 4


def format_of(content: Content) -> str:
    """The format of a file. Raises InputError saying what it holds, and which formats are read."""
    for name in FORMATS:
        if _module(name).fits(content):
            return name
    read = "; ".join(f"{card.name}: {card.files}" for card in prediction_cards())
    raise InputError(
        f"{content.path}: holds {content.words()}, which no format of predictions has; read are: {read}; npz: an "
        "archive as in docs/prediction_files.md"
    )


def _module(name: str) -> ModuleType:
    return importlib.import_module(FORMATS[name])


def _files(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = path / "smplx" if (path / "smplx").is_dir() else path  # as SMPLer-X writes them
        there = sorted(p for p in inside.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
        if not there:
            raise InputError(f"{shown(str(path), 300)}: holds no file of predictions ({', '.join(SUFFIXES)})")
        found += there
    if not found:
        raise InputError("no file of predictions was given; expected at least one")
    if len(found) > MAX_FILES:
        raise InputError(f"{counted(len(found), 'file')} of predictions, expected at most {MAX_FILES}")
    return found
