"""Records of a data set that cannot be used: each one named, all of them counted, none silently dropped."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from hmralign.structures.counted import counted
from hmralign.structures.errors import shown

logger = logging.getLogger("hmralign.data")

NAMED = 5
"""Records that are named for each reason; of the others there is the number."""


class WrongRecordError(ValueError):
    """One record does not fit; its text says why, without the record's name."""


@dataclass
class Faults:
    """What was left out of a split, by reason."""

    names: dict[str, list[str]] = field(default_factory=dict)
    """Reason -> the first records that have it."""
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, why: str, count: int = 1) -> None:
        """One more record, or `count` under one name, that cannot be used."""
        self.counts[why] = self.counts.get(why, 0) + count
        named = self.names.setdefault(why, [])
        if len(named) < NAMED:
            named.append(name)

    @property
    def total(self) -> int:
        """How many records were left out."""
        return sum(self.counts.values())

    def sentences(self) -> list[str]:
        """One for each reason, the most frequent first."""
        ordered = sorted(self.counts, key=lambda why: -self.counts[why])
        return [f"{counted(self.counts[why], 'record')} {why}: {self._named(why)}" for why in ordered]

    def _named(self, why: str) -> str:
        names = [shown(name, 120) for name in self.names[why]]
        return ", ".join(names) + (", ..." if self.counts[why] > len(names) else "")

    def record(self) -> dict[str, Any]:
        """As plain values."""
        return {why: {"count": self.counts[why], "first": self.names[why]} for why in self.counts}

    def warn(self, name: str) -> None:
        """Say what was left out of a split, where anything was."""
        if self.total:
            logger.warning("%s: %s left out: %s", name, counted(self.total, "record"), "; ".join(self.sentences()))
