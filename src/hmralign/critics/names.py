"""Names of the critics, apart from what makes them: a command line lists them without loading anything heavy."""

from __future__ import annotations

from typing import Literal, get_args

CriticChoice = Literal[
    "oracle", "oracle-pa", "oracle-pve", "oracle-noisy", "reprojection", "silhouette", "plausibility", "landmarks3d",
    "random", "mix", "consistency", "scorer", "scorer-lab",
]  # fmt: skip

CRITICS: tuple[str, ...] = get_args(CriticChoice)
"""In the order in which they are told."""
