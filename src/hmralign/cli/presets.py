"""`--preset NAME` beside `--config FILE`: one of the two, or neither."""

from __future__ import annotations

from pathlib import Path

from hmralign.cli.usage import UsageError
from hmralign.storage.presets import PresetKind, instead_of, preset_names, preset_path


def preset_help(*kinds: PresetKind) -> str:
    """What the help page says of `--preset`."""
    if len(kinds) == 1:
        return f"A configuration that comes with the package, instead of --config: one of {_listed(kinds[0])}."
    listed = "; ".join(f"`{kind}`: {_listed(kind)}" for kind in kinds)
    return f"A configuration that comes with the package, instead of --config. {listed}."


def chosen_config(kind: PresetKind, preset: str | None, config: Path | None) -> Path | None:
    """The file that was asked for, by its path or by its name; None for neither.

    Raises UsageError for both, and for a name that no preset of the kind has.
    """
    if preset is None:
        return config
    if config is not None:
        raise UsageError("--preset and --config are both given; expected one of them")
    if preset not in preset_names(kind):
        raise UsageError(f"--preset is '{preset}'; {instead_of(kind, preset)} (a file is given with --config)")
    return preset_path(kind, preset)


def needed_config(kind: PresetKind, preset: str | None, config: Path | None, meaning: str) -> Path:
    """As `chosen_config`; raises UsageError naming the presets where neither is given. `meaning` is the file's."""
    chosen = chosen_config(kind, preset, config)
    if chosen is None:
        raise UsageError(
            f"--config and --preset are missing; expected {meaning}, or one of the presets {_listed(kind)}"
        )
    return chosen


def _listed(kind: PresetKind) -> str:
    return ", ".join(preset_names(kind))
