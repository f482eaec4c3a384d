"""Files of a data set below its folder, and what to say where they are not there."""

from __future__ import annotations

from pathlib import Path

from hmralign.adapters.card import DatasetCard
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.structures.errors import shown


def need_split(card: DatasetCard, split: str) -> None:
    """Raise InputError for a split that a data set does not have."""
    if split not in card.splits:
        raise InputError(f"{card.name} has no split '{shown(split)}'; expected {' or '.join(card.splits)}")


def need_folder(card: DatasetCard, folder: Path, below: str) -> Path:
    """A folder of the data set. Raises InputError saying what is there instead, and where the data set is to be had."""
    place = folder / below
    if not place.is_dir():
        raise InputError(
            f"{folder}: holds no '{below}', so it is no folder of {card.title}{_there(folder)}; {_help(card)}"
        )
    return place


def need_files(card: DatasetCard, place: Path, pattern: str) -> list[Path]:
    """Files of a pattern, sorted. Raises InputError where there are none."""
    found = sorted(place.glob(pattern))
    if not found:
        raise InputError(f"{place}: has no {pattern}, expected the files of {card.title}{_there(place)}; {_help(card)}")
    return found


def need_one(card: DatasetCard, folder: Path, *patterns: str) -> Path:
    """The one file of the first pattern that has any. Raises InputError where none has, or it has several."""
    for pattern in patterns:
        found = sorted(folder.glob(pattern))
        if len(found) > 1:
            raise InputError(
                f"{folder}: has {counted(len(found), 'file')} like {pattern}, expected one: "
                f"{', '.join(p.name for p in found)}"
            )
        if found:
            return found[0]
    raise InputError(
        f"{folder}: has no {' or '.join(patterns)}, expected for {card.title}{_there(folder)}; {_help(card)}"
    )


def _there(folder: Path) -> str:
    """What lies in a folder: archives that were not unpacked are the usual case."""
    if not folder.is_dir():
        return " (there is no such folder)"
    names = sorted(p.name for p in folder.iterdir())
    packed = [n for n in names if n.endswith((".zip", ".tar", ".tar.gz", ".tgz", ".7z", ".part", ".crdownload"))]
    if packed:
        return f" (it holds {packed[0]}, which is not unpacked or not whole)"
    return f" (it holds {', '.join(names[:5])}{', ...' if len(names) > 5 else ''})" if names else " (it is empty)"


def _help(card: DatasetCard) -> str:
    return f"`hmralign data check DIR --dataset {card.name}` says which files are expected"
