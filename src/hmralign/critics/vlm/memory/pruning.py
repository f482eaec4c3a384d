"""Which rules are shown no longer, and which are kept when a memory is frozen.

| | by success rates (all rules of a prompt share the credit) | by effects (`credit`, rules told apart) |
| --- | --- | --- |
| no longer shown | `rules_to_retire` | `retirements` |
| kept at freezing | `rules_to_keep` | `credit.helpful_rules` |

Nothing is deleted: a retired rule keeps its uses, its origin and the reason, and its sentence is not mined again.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

from hmralign.critics.vlm.memory.credit import EffectOptions, RuleEffect, harmful_rules, worse_of_conflicts
from hmralign.critics.vlm.memory.selection import wilson
from hmralign.structures import InputError, Rule
from hmralign.structures.counted import counted


@dataclass(frozen=True)
class PruningOptions:
    """When a rule goes."""

    max_rules: int = 200
    """That are shown; beyond it those with the lowest upper bound go, which are never the untried."""
    min_uses: int = 10
    """Before a rule can be retired for its record, or kept at freezing."""
    bound: Literal["upper", "lower"] = "upper"
    """Which bound has to be below the baseline: `upper` retires what is worse than it, `lower` what is not shown to be
    better, which only suits a baseline without rules: among rules that share their credit most are average."""
    confidence: float = 0.9
    """Confidence of the bounds, two-sided."""

    def __post_init__(self) -> None:
        """Raise InputError for numbers below one and a confidence outside 0..1."""
        if self.max_rules < 1 or self.min_uses < 1 or not 0 < self.confidence < 1:
            raise InputError(f"at most {counted(self.max_rules, 'rule')}, {self.min_uses} uses, confidence "
                             f"{self.confidence}; "
                             "expected at least 1, at least 1, and between 0 and 1")  # fmt: skip


@dataclass(frozen=True)
class RetirementOptions:
    """When a rule goes while a judge still learns."""

    effects: EffectOptions = field(default_factory=EffectOptions)
    """How much harm is put up with, and how sure it has to be."""
    max_rules: int = 200
    """That are shown; beyond it those with the lowest upper bounds of their effect go."""

    def __post_init__(self) -> None:
        """Raise InputError for a cap below one."""
        if self.max_rules < 1:
            raise InputError(f"at most {self.max_rules} rules are to be shown; expected at least 1")


def retirements(
    rules: Sequence[Rule],
    effects: Sequence[RuleEffect],
    conflicts: Collection[tuple[str, str]] = (),
    options: RetirementOptions | None = None,
) -> dict[str, str]:
    """Rule -> why, for `Memory.retire`; `rules` are those that are shown.

    Three kinds go: a rule that is shown to do harm; of two that say the opposite the one that is shown to do worse; and
    those beyond the cap, the least promising first; what was never tried goes last. Once these are gone, the same log
    gives no others.
    """
    options = options or RetirementOptions()
    active = {rule.id for rule in rules}
    own = [effect for effect in effects if effect.rule in active]
    both = [pair for pair in conflicts if active.issuperset(pair)]
    reasons = worse_of_conflicts(own, both, options.effects) | harmful_rules(own, options.effects)
    high = {effect.rule: effect.high for effect in own}
    left = [rule for rule in rules if rule.id not in reasons]
    left.sort(key=lambda r: (high.get(r.id, math.inf), -r.uses, r.id))
    for rule in left[: max(0, len(left) - options.max_rules)]:
        said = next((effect.words for effect in own if effect.rule == rule.id), "unknown, in 0 uses")
        reasons[rule.id] = f"one of more than {counted(options.max_rules, 'rule')}; its effect is {said}"
    return reasons


def rules_to_retire(rules: Sequence[Rule], baseline: float, options: PruningOptions | None = None) -> dict[str, str]:
    """Rule -> why, for `Memory.retire`. `baseline` is a success rate: of the judge without rules, or 1/2 for paired
    credit."""
    options = options or PruningOptions()
    reasons: dict[str, str] = {}
    for rule in rules:
        bound = wilson(rule.successes, rule.uses, options.confidence)[options.bound == "upper"]
        if rule.uses >= options.min_uses and bound < baseline:
            reasons[rule.id] = (
                f"{counted(rule.successes, 'success')} of {rule.uses} uses: {options.bound} bound {bound:.2f} is below "
                f"{baseline:.2f}"
            )
    left = sorted((r for r in rules if r.id not in reasons), key=lambda r: (_upper(r, options), -r.uses, r.id))
    for rule in left[: max(0, len(left) - options.max_rules)]:
        reasons[rule.id] = (
            f"one of more than {counted(options.max_rules, 'rule')}, upper bound {_upper(rule, options):.2f}"
        )
    return reasons


def rules_to_keep(
    rules: Sequence[Rule],
    baseline: float,
    count: int,
    options: PruningOptions | None = None,
    conflicts: Collection[tuple[str, str]] = (),
) -> tuple[str, ...]:
    """Ids for `Memory.freeze`: at most `count` with the highest lower bounds, best first.

    Only rules that were used often enough and whose lower bound is above `baseline`: in a frozen memory nothing can be
    found out any more, and a wrong rule costs. Of two that conflict the better one is kept.
    """
    options = options or PruningOptions()
    barred = {frozenset(pair) for pair in conflicts}
    tried = [(wilson(r.successes, r.uses, options.confidence)[0], r.id) for r in rules if r.uses >= options.min_uses]
    kept: list[str] = []
    for low, name in sorted(tried, key=lambda item: (-item[0], item[1])):
        if len(kept) < count and low > baseline and not any(frozenset((name, other)) in barred for other in kept):
            kept.append(name)
    return tuple(kept)


def _upper(rule: Rule, options: PruningOptions) -> float:
    return wilson(rule.successes, rule.uses, options.confidence)[1]
