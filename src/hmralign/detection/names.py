"""Which detectors there are: a light table, which a command line reads without loading anything heavy.

Adding one takes a file with a detector and a function that makes it of a `DetectorSetting`, and its line here. One of
the user's own needs no line: `FILE.py:FUNCTION`, or an entry point in the group `hmralign.detectors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

DETECTORS: Mapping[str, str] = {
    "mediapipe": "hmralign.detection.mediapipe_detector:make_mediapipe",
    "vitpose": "hmralign.detection.vitpose_detector:make_vitpose",
}
"""Name -> what makes it."""

OF_FOLDERS = frozenset({"vitpose"})
"""Those that read their models from a folder of the user's; the others of `DETECTORS` take none."""


def wrong_folder(name: str, folder: str | Path | None) -> str | None:
    """What is wrong with a detector's folder, or its lack; None where it fits. One of the user's own may take one."""
    if name in OF_FOLDERS and folder is None:
        return f"the detector '{name}' needs a detector folder (--detector-folder), with its models"
    if name not in OF_FOLDERS and (name in DETECTORS or name == "none") and folder is not None:
        those = " or ".join(f"'{n}'" for n in sorted(OF_FOLDERS))
        return f"a detector folder (--detector-folder) is given with '{name}'; expected it with {those} only"
    return None
