"""Every reading of a test split, on the record: one JSON line each, written before the first person is looked at."""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from hmralign.structures import InputError


def log_opening(log: Path, split: str, why: str, **facts: Any) -> None:
    """Append one line. Raises InputError when the log cannot be written: an unlogged reading does not take place."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    facts = {k: _without_machine(v) for k, v in facts.items()}
    line = json.dumps({"time": now, "split": split, "why": why, **facts}, sort_keys=True)
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(f"{log}: the log of test readings cannot be written ({error.strerror})") from error


def _without_machine(value: Any) -> Any:
    """A path by its file and folder: where a folder lies on somebody's machine is nobody's business."""
    path = Path(value) if isinstance(value, str) else None
    return "/".join(path.parts[-2:]) if path is not None and path.is_absolute() else value
