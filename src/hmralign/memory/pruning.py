"""Which rules are shown no longer, and which are kept when a memory is frozen."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from hmralign.memory.selection import wilson
from hmralign.structures import InputError, Rule


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
    """Of the bounds, two-sided."""

    def __post_init__(self) -> None:
        """Raise InputError for numbers below one and a confidence outside 0..1."""
        if self.max_rules < 1 or self.min_uses < 1 or not 0 < self.confidence < 1:
            raise InputError(f"at most {self.max_rules} rules, {self.min_uses} uses, confidence {self.confidence}; "
                             "expected at least 1, at least 1, and between 0 and 1")  # fmt: skip


def rules_to_retire(rules: Sequence[Rule], baseline: float, options: PruningOptions | None = None) -> dict[str, str]:
    """Rule -> why, for `Memory.retire`. `baseline` is a success rate: of the judge without rules, or 1/2 for paired
    credit."""
    options = options or PruningOptions()
    reasons: dict[str, str] = {}
    for rule in rules:
        bound = wilson(rule.successes, rule.uses, options.confidence)[options.bound == "upper"]
        if rule.uses >= options.min_uses and bound < baseline:
            reasons[rule.id] = (
                f"{rule.successes} successes of {rule.uses} uses: {options.bound} bound {bound:.2f} is below "
                f"{baseline:.2f}"
            )
    left = sorted((r for r in rules if r.id not in reasons), key=lambda r: (_upper(r, options), -r.uses, r.id))
    for rule in left[: max(0, len(left) - options.max_rules)]:
        reasons[rule.id] = f"one of more than {options.max_rules} rules, upper bound {_upper(rule, options):.2f}"
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
