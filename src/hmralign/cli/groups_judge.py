"""The judge of `hmralign groups ... --critic vlm`: `hmralign critic score`, given in one file or by a few options.

The groups are scored by that very command, so that journal, verdicts, budget and refusals are those of
`docs/vlm_critic.md`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from hmralign.cli.critic_score import ScoreOptions, run_score
from hmralign.cli.options import read_config
from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError

JUDGE = "vlm"
"""The critic's name, and that of its scores where the file gives none."""

FLAGS = ("vlm", "base_url", "model", "local", "memory", "allow_remote")
"""Options of `groups` that say who is asked."""

_OF_GROUPS = ("store", "shard", "quiet", "json")
"""Options of `critic score` that `groups` has itself."""

_FILES = ("memory", "config", "profile", "prices")


def judge_options(given: dict[str, Any], *, asked: bool) -> ScoreOptions | None:
    """Options of `critic score`, without a store; None where the judge is not asked. `given` are those of `FLAGS`.

    Raises UsageError where the judge is asked and nobody is given, or the other way round, and for a wrong file.
    """
    if not asked:
        if given:
            raise UsageError(f"--{next(iter(given)).replace('_', '-')} is for --critic {JUDGE}, which is not named")
        return None
    path = given.get("vlm")
    values = {} if path is None else read_config(path, ScoreOptions)
    if foreign := [name for name in _OF_GROUPS if name in values]:
        raise UsageError(f"'{path}' has the option '{foreign[0]}', which `hmralign groups` decides; leave it out")
    if given.get("base_url") is not None:
        values.pop("allow_remote", None)  # the file allows it for its own server
    values |= {name: value for name, value in given.items() if name != "vlm"}
    if values.get("base_url") is None and values.get("local") is None:
        raise UsageError(
            f"--critic {JUDGE} has nobody to ask; expected --base-url with --model, or --local, or --vlm with a YAML "
            "file of the options of `hmralign critic score`, the command that scores groups which are there"
        )
    return ScoreOptions(**values)


def check_judge(judge: ScoreOptions) -> None:
    """What would be refused later is refused before anything is sampled: another machine, files that are not there.

    Raises UsageError, and as `make_backend` for a server.
    """
    for name in _FILES:
        path = getattr(judge, name)
        if path is not None and not path.is_file():
            raise UsageError(f"the {name} of the judge is '{path}', and there is no such file")
    if judge.local is not None:
        if not judge.local.is_dir():
            raise UsageError(f"the judge is '{judge.local}', and there is no such folder")
        if judge.base_url is None:
            return  # loading it twice would take long
    from hmralign.vlm.backends import make_backend

    make_backend(judge.base_url, judge.model, judge.local, allow_remote=judge.allow_remote)


def judge_store(judge: ScoreOptions, folder: Path, terminal: Terminal) -> tuple[int, dict[str, Any] | None]:
    """Score the groups of a store as `critic score` does; gives its exit code, and its document if there is one."""
    inner = terminal.within()
    code = run_score(dataclasses.replace(judge, store=folder, quiet=terminal.quiet), inner)
    for line in inner.said or ():
        terminal.say(line)
    return code, inner.answers[0] if inner.answers else None
