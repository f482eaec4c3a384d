"""Which critics there are: a light table, which a command line reads without loading anything heavy.

Adding a critic takes a file with the critic and a function that makes it of a `CriticSetting`, and its line here. A
critic of the user's own needs no line: `FILE.py:FUNCTION`, or an entry point in the group `hmralign.critics`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath

CriticChoice = str
"""One of `CRITICS`, a scorer's checkpoint (.safetensors), a file of descriptions (.descriptions.json), or a critic of
the user's own (`structures.extensions`)."""

CRITICS: Mapping[str, str] = {
    "oracle": "hmralign.critics.controls:make_oracle",
    "oracle-pa": "hmralign.critics.controls:make_oracle_pa",
    "oracle-pve": "hmralign.critics.controls:make_oracle_pve",
    "oracle-gpa": "hmralign.critics.controls:make_oracle_gpa",
    "oracle-noisy": "hmralign.critics.noisy_oracle:make_noisy_oracle",
    "reprojection": "hmralign.critics.reprojection:make_reprojection",
    "silhouette": "hmralign.critics.by_rule:make_silhouette",
    "plausibility": "hmralign.critics.plausibility:make_plausibility",
    "landmarks3d": "hmralign.critics.landmarks3d:make_landmarks3d",
    "random": "hmralign.critics.controls:make_random",
    "mix": "hmralign.critics.by_rule:make_mix",
    "consistency": "hmralign.critics.consistency:make_consistency",
    "scorer": "hmralign.critics.learned_scorer:make_scorer",
    "scorer-lab": "hmralign.critics.learned_scorer:make_scorer_lab",
    "limb-tilt": "hmralign.critics.limb_tilt:make_limb_tilt",
    "oracle-language": "hmralign.critics.language:make_oracle_language",
}
"""Name -> what makes it, in the order in which they are told."""


DESCRIPTIONS_END = ".descriptions.json"
"""How names of files of descriptions end (`hmralign.critics.language`)."""


def is_scorer_file(name: str) -> bool:
    """Whether a name is the path of a scorer's checkpoint, judged by its end."""
    return name.endswith(".safetensors")


def is_descriptions_file(name: str) -> bool:
    """Whether a name is the path of a file of descriptions, judged by its end."""
    return name.endswith(DESCRIPTIONS_END)


def is_critic(name: str) -> bool:
    """Whether a name is one of `CRITICS`, a file that a critic is made of, or stands for a critic of the user's own."""
    if name in CRITICS or is_scorer_file(name) or is_descriptions_file(name):
        return True
    from hmralign.structures.extensions import is_extension  # loads torch, which a command's `--help` does without

    return is_extension("critics", name)


def score_name(name: str) -> str:
    """What a critic's scores are called in a store: `path/to/mine.py:make` is `mine.make`, `path/to/a.safetensors` is
    `a`, and so is `path/to/a.descriptions.json`; every other name is itself."""
    if is_descriptions_file(name):
        return PurePath(name).name.removesuffix(DESCRIPTIONS_END)
    if is_scorer_file(name):
        return PurePath(name).stem
    place, colon, function = name.rpartition(":")
    return f"{PurePath(place).stem if place.endswith('.py') else place}.{function}" if colon else name


def computed_critics(names: Sequence[str]) -> list[str]:
    """Those of the names that are computed here: not the judge, nor scores that a program of the user's wrote."""
    return [name for name in names if is_critic(name)]
