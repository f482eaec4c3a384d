"""The cards of all published data sets, and which of them a folder looks like."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from hmralign.adapters.card import DatasetCard
from hmralign.data.names import DATASETS, PUBLISHED

MOST_COUNTED = 1000
"""Files of a pattern that are counted; of more it is said that there are as many at least."""


@dataclass(frozen=True)
class FoundFiles:
    """How many files of a pattern lie below a folder, at most `MOST_COUNTED` are counted."""

    pattern: str
    what: str
    count: int


def card_of(dataset: str) -> DatasetCard:
    """The card of a published data set; `dataset` is one of `PUBLISHED`."""
    return importlib.import_module(DATASETS[dataset].partition(":")[0]).CARD


def found_files(card: DatasetCard, folder: Path, split: str | None = None) -> list[FoundFiles]:
    """What is there of the files that a card expects; of all splits where none is named."""
    found = []
    for pattern, what in card.files.items():
        words = {"validation" if split == "val" else split, split} if split is not None else {"*"}
        patterns = {pattern.replace("{split}", str(word)) for word in words}
        files = {path for p in patterns for path in islice(_matches(folder, p), MOST_COUNTED)}
        found.append(FoundFiles(pattern, what, min(len(files), MOST_COUNTED)))
    return found


def _matches(folder: Path, pattern: str) -> Iterator[Path]:
    parts = [part if part == "**" else part.replace("**", "*") for part in pattern.split("/")]
    joined = "/".join([*parts, "*"] if parts[-1] == "**" else parts)
    return (path for path in folder.glob(joined) if path.is_file())


def looks_like(folder: Path) -> list[str]:
    """Published data sets whose annotation files lie in a folder, those with the most kinds of files first."""
    kinds = {}
    for name in PUBLISHED:
        found = found_files(card_of(name), folder)
        if found and found[0].count:
            kinds[name] = sum(f.count > 0 for f in found)
    return sorted(kinds, key=lambda name: -kinds[name])
