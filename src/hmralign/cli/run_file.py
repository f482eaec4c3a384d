"""`run.yaml`: what a run was asked for and what made its results; `--config` reads it again."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from hmralign.cli.work_options import WORK_OPTIONS

RUN_FILE = "run.yaml"

NOT_KEPT = ("config", "allow_remote", *WORK_OPTIONS)
"""Options of one run alone: leave to send pictures of people elsewhere has to be given anew for other people, and who
works is not what makes a result."""


def write_run_file(folder: Path, command: str, options: Any, made_by: dict[str, Any]) -> Path:
    """The options in force (a dataclass), and the versions and hashes behind the results."""
    import yaml

    from hmralign.storage.run_record import plain
    from hmralign.storage.whole_file import write_whole

    chosen = {k: _plain(v) for k, v in dataclasses.asdict(options).items() if k not in NOT_KEPT and v is not None}
    content = {
        "format_version": 1,
        "command": command,
        "options": chosen,
        "made_by": plain(made_by),
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    return write_whole(folder / RUN_FILE, text)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return [_plain(v) for v in value] if isinstance(value, tuple) else value
