"""`hmralign convert ...`: files of published codes become files of this package, and back where that makes sense.

A command is a line of `CONVERT_COMMANDS`; `hmralign convert NAME` runs it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from hmralign.cli.convert_pairs import ConvertPairsOptions, run_convert_pairs
from hmralign.cli.convert_snapshot import ConvertSnapshotOptions, run_convert_snapshot
from hmralign.cli.convert_twist import ConvertTwistOptions, run_convert_twist
from hmralign.cli.terminal import Terminal

if TYPE_CHECKING:
    from hmralign.models.published.layouts import Kind

_SNAPSHOTS: tuple[tuple[Kind, str], ...] = (
    ("hyponet", "HypoNet"),
    ("scorenet", "ScoreNet"),
    ("hmr-scorer", "HMR-Scorer"),
)

CONVERT_COMMANDS: dict[str, tuple[type, Callable[[Any, Terminal], int], str]] = {
    **{
        name: (ConvertSnapshotOptions, partial(run_convert_snapshot, name), f"make a checkpoint of a published {model}")
        for name, model in _SNAPSHOTS
    },
    "twist": (ConvertTwistOptions, run_convert_twist, "split SMPL-style poses into joints and swing-twist annotations"),
    "pairs": (
        ConvertPairsOptions,
        run_convert_pairs,
        "read pools of pairs or groups of published codes, or write them",
    ),
}
