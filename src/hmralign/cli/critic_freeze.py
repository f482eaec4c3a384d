"""`hmralign critic freeze`: an immutable copy of a memory, whole or with its best rules."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from hmralign.cli.critic_judge_options import given_path
from hmralign.cli.terminal import Terminal
from hmralign.cli.usage import UsageError

Credit = Literal["shared", "paired", "effects"]


@dataclass(frozen=True)
class FreezeOptions:
    """Write an immutable copy of MEMORY; its hash stands for everything that a judge can be shown from it."""

    memory: tyro.conf.Positional[Path | None] = None
    """File of a memory."""
    out: Path | None = None
    """File of the copy; must not exist."""
    best_rules: int | None = None
    """Keep only so many rules, those shown to do good; the default keeps all."""
    credit: Credit | None = None
    """What is good. shared, the default: success rates of the prompts a rule was in. effects: what it does to the rank
    correlation, told apart from its company, groups judged without it counted. paired: these groups alone."""
    baseline: float | None = None
    """Success rate that a rule has to exceed, 0 to 1; the default is the judge's without rules, for paired credit a
    half. Effects have none."""
    min_uses: int | None = None
    """How often a rule must have been used to be kept by --best-rules; the default is 10, for effects 4."""
    quiet: bool = False
    """Say nothing but errors."""
    json: bool = False
    """One JSON document on stdout instead of words."""


def run_freeze(options: FreezeOptions, terminal: Terminal) -> int:
    """Freeze and say the hash."""
    from hmralign.structures.counted import counted

    source = given_path(options.memory, "MEMORY", "the file of a memory")
    out = given_path(options.out, "--out", "the file of the frozen copy")
    from hmralign.critics.vlm.memory.credit import EffectOptions
    from hmralign.critics.vlm.memory.pruning import PruningOptions
    from hmralign.critics.vlm.memory.store import Memory
    from hmralign.systems.group_preference.explore import freeze_memory, utc_now

    if options.best_rules is None and (options.credit is not None or options.min_uses is not None):
        raise UsageError("--credit and --min-uses say which rules --best-rules keeps; it is missing")
    pruning, effects = PruningOptions(), EffectOptions()
    if options.min_uses is not None:
        pruning = dataclasses.replace(pruning, min_uses=options.min_uses)
        effects = dataclasses.replace(effects, min_uses=options.min_uses)
    with Memory.open(source, read_only=True) as memory:
        frozen = freeze_memory(
            memory, out, best_rules=options.best_rules, baseline=options.baseline,
            pruning=pruning,
            credit=options.credit or "shared", effects=effects, time=utc_now(),
        )  # fmt: skip
    with Memory.open(out) as memory:
        rules, cases = len(memory.rules()), len(memory.prototype_index().ids)
    terminal.answer({"memory": str(out), "sha256": frozen, "rules": rules, "cases": cases})
    terminal.say(f"{counted(rules, 'rule')} and {counted(cases, 'case')} frozen in {out}, hash {frozen[:16]}")
    return 0
