"""What work was cut into units, so that every worker, wherever it runs, means the same by a number.

A manifest is reckoned by each worker from what it was asked for, and written by the first. It holds what decides the
content of every unit, how many units there are, and a hash of their names in order; two runs of other facts, or of
other photos, cannot mix in one folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hmralign.storage.json_file import read_record
from hmralign.storage.run_record import plain, require_same_run
from hmralign.storage.whole_file import write_json

FILE = "manifest.json"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Manifest:
    """Work in units."""

    work: str
    """What is done to each unit, such as `groups`."""
    facts: dict[str, Any]
    """What decides the content of all units: hashes of weights, body, source, settings."""
    units: int
    units_sha256: str
    """Hash of the units' names in order."""

    @staticmethod
    def of_units(work: str, facts: dict[str, Any], names: Iterable[Iterable[str]]) -> Manifest:
        """From the names of what is in each unit."""
        digest, count = hashlib.sha256(), 0
        for unit in names:
            digest.update(json.dumps(list(unit)).encode())
            count += 1
        return Manifest(work, plain(facts), count, digest.hexdigest())

    @property
    def fingerprint(self) -> str:
        """Hash of all of it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def hold(self, folder: Path) -> None:
        """Write it into a folder, or see that the folder has the same. Raises InputError naming what differs."""
        path = folder / FILE
        if not path.is_file():
            write_json(path, {"format_version": FORMAT_VERSION, **asdict(self)}, sync=True)
        self.require(folder)

    def require(self, folder: Path) -> None:
        """Raises InputError where the folder's manifest says something else, is newer or damaged."""
        there = read_record(folder / FILE, "the manifest of shared work", FORMAT_VERSION)
        del there["format_version"]
        advice = "give the options of the run that began it, or remove that folder to start over"
        require_same_run(folder, there, plain(asdict(self)), what="its parts were", advice=advice)
