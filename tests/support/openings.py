"""What stands in a log of readings of test splits."""

import json
from pathlib import Path


def read_openings(log: Path) -> list[dict]:
    """Lines of a log, oldest first; none where there is no log."""
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.is_file() else []
