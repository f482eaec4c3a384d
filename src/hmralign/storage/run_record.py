"""Whether a folder holds the run that is asked for: what it was made with, held against what is wanted.

A run writes what decides its result into one file of its folder before anything else. The same command again finds it
and goes on; any other is refused with the first setting that differs, so that no folder ever holds two runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hmralign.structures import InputError

_ABSENT = object()
_LONGEST = 80


@dataclass(frozen=True)
class Difference:
    """The first setting in which two records differ."""

    name: str
    """Keys from the outside in, joined by points."""
    there: Any
    wanted: Any

    def __str__(self) -> str:
        """`seed = 0, not 1`, long values cut."""
        return f"{self.name} = {short(self.there)}, not {short(self.wanted)}"


def plain(record: Any) -> Any:
    """A record as it comes back from a JSON file: tuples are lists, keys are text."""
    return json.loads(json.dumps(record))


def short(value: Any) -> str:
    """A value in one line, cut to 80 characters."""
    text = json.dumps(None if value is _ABSENT else value, default=str)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def first_difference(there: Any, wanted: Any, *, only_wanted: bool = False) -> Difference | None:
    """The first difference of two records in the order of the wanted one; None where they are the same.

    `only_wanted` leaves aside what the folder says besides.

    >>> str(first_difference({"rule": {"share": 0.5}}, {"rule": {"share": 0.7}}))
    'rule.share = 0.5, not 0.7'
    """
    return _difference("", plain(there), plain(wanted), only_wanted)


def require_same_run(
    place: Path, there: Any, wanted: Any, *, what: str = "was", advice: str = "use another folder"
) -> None:
    """Raise InputError naming the place and the first setting that differs from what it was made with."""
    if (difference := first_difference(there, wanted)) is not None:
        raise InputError(f"{place}: {what} made with {difference}; {advice}")


def require_own_folder(
    folder: Path, record: str, what: str, known: Collection[str] | Callable[[str], bool] = ()
) -> None:
    """Raise InputError for a folder that holds other things but not the record that one of ours begins with.

    `known` are names that do not count, as a set or as a test; unfinished files (`.part`) never do.
    """
    if not folder.is_dir() or (folder / record).is_file():
        return
    passes = known if callable(known) else known.__contains__
    strangers = [p.name for p in folder.iterdir() if not passes(p.name) and p.suffix != ".part"]
    if strangers:
        raise InputError(f"{folder}: is not empty ('{strangers[0]}') and {what}; use another folder")


def _difference(name: str, there: Any, wanted: Any, only_wanted: bool) -> Difference | None:
    if not (isinstance(there, Mapping) and isinstance(wanted, Mapping)):
        return None if there == wanted else Difference(name or "everything", there, wanted)
    names = [*wanted, *(() if only_wanted else (key for key in there if key not in wanted))]
    for key in names:
        inner = f"{name}.{key}" if name else str(key)
        a, b = there.get(key, _ABSENT), wanted.get(key, _ABSENT)
        found = _difference(inner, a, b, only_wanted) if _ABSENT not in (a, b) else Difference(inner, a, b)
        if found is not None:
            return found
    return None
