"""Which formats of predictions there are: a light table, which a command line reads without loading anything heavy.

Adding one takes a file with a `CARD`, `fits(content)` and `rows(content, faults)`, and its line here.
"""

from __future__ import annotations

from collections.abc import Mapping

FORMATS: Mapping[str, str] = {
    "4d-humans": "hmralign.adapters.predictions.fourd_humans",
    "sam-3d-body": "hmralign.adapters.predictions.sam_3d_body",
    "nlf": "hmralign.adapters.predictions.nlf",
    "smplerx": "hmralign.adapters.predictions.smplerx",
    "smpl-parameters": "hmralign.adapters.predictions.smpl_parameters",
}
"""Name -> module, in the order in which a file is held against them: the last one asks for least."""

SUFFIXES = (".npz", ".pkl", ".pickle", ".pt", ".pth")
"""Files of predictions; in a folder others are not looked at."""
