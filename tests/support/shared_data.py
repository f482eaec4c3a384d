"""Where optional test data lies: real poses and photographs that are not part of the repository."""

import os
from pathlib import Path

import pytest


def shared_data() -> Path | None:
    """Folder with `poses/` and `photos/`, or None. `HMRALIGN_SHARED_DATA` overrides the default place."""
    override = os.environ.get("HMRALIGN_SHARED_DATA")
    folder = Path(override) if override else Path(__file__).parents[3] / "shared" / "data"
    return folder if folder.is_dir() else None


def require_shared(relative: str) -> Path:
    """Path below the shared data; skips the test, saying so, when it is absent."""
    folder = shared_data()
    if folder is None or not (folder / relative).exists():
        pytest.skip(f"optional shared data '{relative}' is not here (set HMRALIGN_SHARED_DATA)")
    return folder / relative
