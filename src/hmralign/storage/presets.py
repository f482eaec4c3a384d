"""Configurations that come with the package, called by name: `hmralign align --preset gpa`.

They are the YAML files of `storage/assets/presets/KIND/NAME.yaml`, read as any other file of that kind is. To add one,
write the file; its first comment says what it is for and how it was made.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

PresetKind = Literal["align", "base", "pixel", "scorer", "gate", "ablate"]
"""What a preset configures: `align`, `train base` (and the persons of `synth`), `train pixel`, `train scorer`,
`train gate`, `critic ablate`."""

_FOLDER = Path(__file__).parent / "assets" / "presets"


def preset_names(kind: PresetKind) -> tuple[str, ...]:
    """The names of one kind, in alphabetical order."""
    return tuple(sorted(path.stem for path in (_FOLDER / kind).glob("*.yaml")))


def preset_path(kind: PresetKind, name: str) -> Path:
    """The file of a preset. Raises InputError naming all presets of the kind for another name."""
    names = preset_names(kind)
    if name not in names:
        from hmralign.structures.errors import InputError  # loads torch, which `--help` does without

        raise InputError(f"'{name}' is no preset; expected one of {', '.join(names)}")
    return _FOLDER / kind / f"{name}.yaml"
