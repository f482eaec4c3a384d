"""Steps of a study: folders named by a hash of all that decides their result, done when `done.json` is there.

    steps/learn_<hash>/    memory.sqlite, frozen.sqlite, done.json
          score_<hash>/    done.json; the scores themselves lie in the store that they are of
          align_<hash>/    as `hmralign align` leaves it, done.json
          measure_<hash>/  columns.npz, done.json

Arms that share a step find it done. A step that was cut off goes on where its own files allow: no question is asked
twice, no training step is lost beyond its last saved state.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hmralign.storage.json_file import RECORD, parse_json, read_json
from hmralign.storage.limited_file import read_limited
from hmralign.storage.run_record import plain, require_same_run
from hmralign.storage.whole_file import write_json
from hmralign.structures import InputError

Kind = Literal["learn", "score", "align", "measure"]
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Step:
    """One piece of work."""

    folder: Path
    decided_by: dict[str, Any]
    """Plain values."""

    @staticmethod
    def of(out: Path, kind: Kind, decided_by: dict[str, Any]) -> Step:
        """In the folder of a study."""
        decisive = plain(decided_by)
        return Step(out / "steps" / f"{kind}_{short_hash(decisive)}", decisive)

    @property
    def name(self) -> str:
        """Kind and hash."""
        return self.folder.name

    def done(self) -> dict[str, Any] | None:
        """What came of it; None where it is not done. Raises InputError for a record of something else."""
        path = self.folder / "done.json"
        try:
            record = parse_json(read_limited(path, RECORD.max_bytes))
            if record["format_version"] != FORMAT_VERSION:
                raise ValueError(f"format version {record['format_version']}, this program reads {FORMAT_VERSION}")
            advice = f"remove the folder {self.folder}"
            require_same_run(path, record["decided_by"], self.decided_by, advice=advice)
            return {**record["result"], "cpu_seconds": float(record["cpu_seconds"])}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: not the record of a step ({error}); remove the folder {self.folder}") from error

    def finish(self, result: dict[str, Any]) -> None:
        """Write what came of it, last."""
        record = {
            "format_version": FORMAT_VERSION, "decided_by": self.decided_by, "result": result,
            "cpu_seconds": self._spent(),
        }  # fmt: skip
        write_json(self.folder / "done.json", record, indent=1)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the processor's time of what is done inside, that of runs which were stopped included."""
        before, started = self._spent(), time.process_time()
        try:
            yield
        finally:
            spent = round(before + time.process_time() - started, 2)
            write_json(self.folder / "cpu_seconds.json", spent, indent=None)

    def _spent(self) -> float:
        path = self.folder / "cpu_seconds.json"
        return float(read_json(path, "a time")) if path.is_file() else 0.0


def short_hash(value: Any) -> str:
    """Twelve digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
