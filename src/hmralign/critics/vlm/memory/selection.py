"""Which rules a judge is shown: relevance plus usefulness, where usefulness has to be found out by showing them.

    Psi_i = R(T_q, T_i) + U_i,      U_i = rho_i + C sqrt(log N / (n_i + 1))      (Shen et al. 2026, GPA)

| name in code | symbol | |
| --- | --- | --- |
| `tags`, `rule.tags` | T_q, T_i | R counts common tags (`count`, the paper) or divides by all of them (`jaccard`) |
| `rule.uses`, `rule.successes` | N_i^u = n_i, N_i^s | |
| `exploration` | C | not printed in the paper |
| success rate | rho_i | (N^s + 1) / (n + 2); in the paper N^s / n, here 0 for a rule that was never shown |
| log N | log N_total | N is the sum of uses; log(N + e), in the paper log N, here 0 for N < 1 |

With rho = 0 for unused rules and a small C, rules that come late starve; the prior mean mends that. A count of common
tags is unbounded and outweighs any U, hence Jaccard by default. What is to be good is the list that is frozen, so the
default explores broadly and freezing goes by a lower bound (Wilson 1927), not by the score used to explore.

Thompson 1933 draws each rate from its posterior. All ties go to the rule that was used least, then to the smaller id.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import norm

from hmralign.structures import InputError, Rule
from hmralign.structures.counted import counted

Method = Literal["ucb", "thompson", "greedy", "random", "lower_bound"]


@dataclass(frozen=True)
class SelectionOptions:
    """How rules are chosen for a prompt."""

    method: Method = "ucb"
    """`lower_bound` never explores: for a frozen memory. `greedy` goes by the success rate."""
    exploration: float = 1.0
    """C of `ucb`."""
    prior: bool = True
    """Whether rates start at 1/2 and logarithms are shifted; without it the paper's formula, guarded."""
    relevance: Literal["jaccard", "count", "none"] = "jaccard"
    confidence: float = 0.95
    """Confidence of `lower_bound`, two-sided."""

    def __post_init__(self) -> None:
        """Raise InputError for a C below 0 and a confidence outside 0..1."""
        if not 0 <= self.exploration < math.inf or not 0 < self.confidence < 1:
            raise InputError(
                f"exploration {self.exploration}, confidence {self.confidence}; expected at least 0, and between 0 and "
                "1"
            )


PAPER_SELECTION = SelectionOptions(prior=False, relevance="count")
"""The formula as printed."""
FROZEN_SELECTION = SelectionOptions(method="lower_bound")
"""For scoring with a frozen memory."""


def select_rules(
    rules: Sequence[Rule],
    tags: Collection[str],
    count: int,
    options: SelectionOptions | None = None,
    generator: torch.Generator | None = None,
    conflicts: Collection[tuple[str, str]] = (),
) -> tuple[Rule, ...]:
    """At most `count` rules, best first; the order of `rules` does not matter.

    Of two rules in `conflicts` only the better one is shown. `generator` is for the methods that draw. Raises
    InputError for a negative count, and for such a method without a generator.
    """
    options = options or SelectionOptions()
    if count < 0:
        raise InputError(f"{count} rules were asked for; expected 0 or more")
    rules = sorted(rules, key=lambda rule: rule.id)
    psi = relevance(rules, tags, options) + usefulness(rules, options, generator)
    # Rounded, so that rules with equal counters tie in spite of floating point.
    order = sorted(range(len(rules)), key=lambda i: (-round(float(psi[i]), 9), rules[i].uses, rules[i].id))
    barred = {frozenset(pair) for pair in conflicts}
    chosen: list[Rule] = []
    for rule in (rules[i] for i in order):
        if len(chosen) == count:
            break
        if not any(frozenset((rule.id, other.id)) in barred for other in chosen):
            chosen.append(rule)
    return tuple(chosen)


def relevance(rules: Sequence[Rule], tags: Collection[str], options: SelectionOptions) -> Float[np.ndarray, " rule"]:
    """R of each rule: common tags, or their share of all tags of the two."""
    asked, values = set(tags), np.zeros(len(rules))
    for number, rule in enumerate(rules):
        common = len(asked & set(rule.tags))
        if options.relevance == "count":
            values[number] = common
        elif options.relevance == "jaccard" and common:
            values[number] = common / len(asked | set(rule.tags))
    return values


def usefulness(
    rules: Sequence[Rule], options: SelectionOptions, generator: torch.Generator | None = None
) -> Float[np.ndarray, " rule"]:
    """U of each rule. Draws go by the order of `rules`."""
    uses = np.array([rule.uses for rule in rules], np.float64)
    successes = np.array([rule.successes for rule in rules], np.float64)
    if options.method in ("random", "thompson"):
        if generator is None:
            raise InputError(f"rules are to be drawn by '{options.method}'; expected a generator")
        if options.method == "random":
            return torch.rand(len(rules), generator=generator, dtype=torch.float64).numpy()
        draws = [_beta(rule.successes + 1, rule.uses - rule.successes + 1, generator) for rule in rules]
        return np.array(draws, np.float64)
    if options.method == "lower_bound":
        return np.array([wilson(r.successes, r.uses, options.confidence)[0] for r in rules], np.float64)
    rate = (successes + 1) / (uses + 2) if options.prior else successes / np.maximum(uses, 1)
    if options.method == "greedy":
        return rate
    total = uses.sum()
    log = math.log(total + math.e) if options.prior else math.log(max(total, 1.0))
    return rate + options.exploration * np.sqrt(log / (uses + 1))


def wilson(successes: int, uses: int, confidence: float = 0.95) -> tuple[float, float]:
    """Bounds of a success rate, two-sided; (0, 1) where nothing is known. Source: Wilson 1927.

    Raises InputError for more successes than uses.
    """
    if not 0 <= successes <= uses:
        raise InputError(f"{counted(successes, 'success')} of {uses} uses; expected no more than uses")
    if uses == 0:
        return 0.0, 1.0
    z = float(norm.ppf((1 + confidence) / 2))
    rate, weight = successes / uses, z * z / uses
    middle = (rate + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(rate * (1 - rate) / uses + weight / (4 * uses))
    return max(0.0, middle - half), min(1.0, middle + half)


def _beta(a: int, b: int, generator: torch.Generator) -> float:
    """A draw of Beta(a, b): for whole numbers the a-th smallest of a + b - 1 uniform draws."""
    draws = torch.rand(a + b - 1, generator=generator, dtype=torch.float64)
    return float(draws.kthvalue(a).values)
