"""Configurations that come with the package, called by name: `hmralign align --preset gpa-code`.

They are the YAML files of `storage/assets/presets/KIND/NAME.yaml`, read as any other file of that kind is. To add one,
write the file; its first comment says what it is for and how it was made.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

PresetKind = Literal[
    "align", "base", "pixel", "scorer", "gate", "ablate", "paper", "regressor", "vqvae", "text", "refiner", "multiview",
    "multiview-align",
]  # fmt: skip
"""What a preset configures: `align`, `train base` (and the persons of `synth`), `train pixel`, `train scorer`,
`train gate`, `critic ablate`, `train paper`, `train regressor`, `train vqvae`, `train text`, `train refiner`,
`multiview train`, `multiview align`."""

RENAMED = {
    (
        "align",
        "gpa",
    ): "gpa-paper, which has one t and one eps per group, as printed (`gpa` had `group.shares: nothing`)",
    ("align", "gpa-as-printed"): "gpa-paper",
}
"""Names of earlier versions, and what has come in their place."""

_FOLDER = Path(__file__).parent / "assets" / "presets"


def preset_names(kind: PresetKind) -> tuple[str, ...]:
    """The names of one kind, in alphabetical order."""
    return tuple(sorted(path.stem for path in (_FOLDER / kind).glob("*.yaml")))


def instead_of(kind: PresetKind, name: str) -> str:
    """What is expected in place of a name that no preset of the kind has: all names, or the new one of an earlier name.

    >>> instead_of("align", "gpa-as-printed")
    'an earlier name of gpa-paper'
    """
    if (kind, name) in RENAMED:
        return f"an earlier name of {RENAMED[kind, name]}"
    return f"expected one of {', '.join(preset_names(kind))}"


def preset_path(kind: PresetKind, name: str) -> Path:
    """The file of a preset. Raises InputError for another name, as `instead_of` says."""
    if name not in preset_names(kind):
        from hmralign.structures.errors import InputError  # loads torch, which `--help` does without

        raise InputError(f"'{name}' is no preset; {instead_of(kind, name)}")
    return _FOLDER / kind / f"{name}.yaml"
