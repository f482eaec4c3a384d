"""What each rule does to the rank correlation, untangled from the rules it was shown with.

All rules of a prompt share the outcome of its group, so a wrong rule looks as good as its company. But the company
changes, so the effects can be told apart by least squares over the log:

    rho_e = mean + sum of beta_i over the rules shown in episode e + noise
    rho_with - rho_without = beta_i + noise          where a group was also judged without rule i

with a normal prior of mean zero on every beta (Bayesian linear regression, Bishop 2006, sec. 3.3), which keeps rules
that were seldom shown near zero and their bounds wide. Effects are taken to add up; of two rules that say the same,
each gets a part. Nothing here costs a call: it is computed from what is stored.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from hmralign.critics.vlm.memory.records import LoggedUse, PastEpisode
from hmralign.structures import InputError

_LEAST_NOISE = 0.02
"""Standard deviation of a group's correlation, at least: no judge repeats itself better."""

_PRIOR_PAIRS = 10
"""Pairs that the noise of two levels, known from all groups, counts for in that of pairs."""


@dataclass(frozen=True)
class EffectOptions:
    """How effects are estimated, and when a rule is kept or goes."""

    prior_std: float = 0.1
    """Standard deviation of the prior of an effect on the rank correlation."""
    confidence: float = 0.8
    """Two-sided, of the bounds that decide."""
    min_uses: int = 4
    """Before a rule is retired for its effect, or kept."""
    tolerance: float = 0.0
    """Harm to the rank correlation that is put up with: a rule goes where the lower bound of its harm is above this."""

    def __post_init__(self) -> None:
        """Raise InputError for numbers that make no sense."""
        if not self.prior_std > 0 or not 0 < self.confidence < 1 or self.min_uses < 1 or not 0 <= self.tolerance < 2:
            raise InputError(
                f"prior {self.prior_std}, confidence {self.confidence}, {self.min_uses} uses, tolerance "
                f"{self.tolerance}; expected above 0, between 0 and 1, at least 1, 0 or more and less than 2"
            )


@dataclass(frozen=True)
class RuleEffect:
    """Change of the rank correlation when a rule is shown: estimate, standard error, bounds, number of uses.

    `controls` are the uses of which the group was also judged without the rule.
    """

    rule: str
    mean: float
    standard_error: float
    low: float
    high: float
    uses: int
    controls: int = 0

    @property
    def words(self) -> str:
        """For a reader."""
        without = f", {self.controls} of them also judged without it" if self.controls else ""
        return f"{self.mean:+.3f} ({self.low:+.3f} to {self.high:+.3f}) in {self.uses} uses{without}"


def rule_effects(
    episodes: Sequence[PastEpisode], log: Sequence[LoggedUse], options: EffectOptions | None = None
) -> tuple[RuleEffect, ...]:
    """Effects of all rules in the log, sorted by id. Episodes without rules say what the mean is without any."""
    options = options or EffectOptions()
    names = sorted({use.rule for use in log})
    if not names:
        return ()
    column = {name: number for number, name in enumerate(names)}
    row = {episode.id: number for number, episode in enumerate(episodes)}
    shown = np.zeros((len(episodes), len(names)))
    for use in log:
        shown[row[use.episode], column[use.rule]] = 1
    design = np.hstack([shown, np.ones((len(episodes), 1))])
    rho = np.array([episode.rho for episode in episodes])
    pairs = [use for use in log if use.control is not None]
    differences = np.zeros((len(pairs), len(names) + 1))
    differences[np.arange(len(pairs)), [column[use.rule] for use in pairs]] = 1
    paired = np.array([use.control for use in pairs], np.float64)
    mean, covariance = _posterior(design, rho, differences, paired, options.prior_std)
    z = float(norm.ppf((1 + options.confidence) / 2))
    uses, controls = shown.sum(0), Counter(use.rule for use in pairs)
    return tuple(
        RuleEffect(
            name, float(mean[i]), error, float(mean[i]) - z * error, float(mean[i]) + z * error, int(uses[i]),
            controls[name],
        )
        for i, name in enumerate(names)
        for error in [math.sqrt(covariance[i, i])]
    )  # fmt: skip


def harmful_rules(effects: Sequence[RuleEffect], options: EffectOptions | None = None) -> dict[str, str]:
    """Rule -> why, for `Memory.retire`: those of which the lower bound of the harm is above the tolerance."""
    options = options or EffectOptions()
    return {
        e.rule: f"changes the rank correlation by {e.words}"
        for e in effects
        if e.uses >= options.min_uses and -e.high > options.tolerance
    }


def worse_of_conflicts(
    effects: Sequence[RuleEffect], conflicts: Collection[tuple[str, str]], options: EffectOptions | None = None
) -> dict[str, str]:
    """Rule -> why, for `Memory.retire`: of two that say the opposite the one that is shown to do worse.

    Both have to be tried, and the bounds of the difference have to leave out zero. The two are never shown together,
    so their errors are taken to be independent.
    """
    options = options or EffectOptions()
    z = float(norm.ppf((1 + options.confidence) / 2))
    tried, reasons = {e.rule: e for e in effects if e.uses >= options.min_uses}, dict[str, str]()
    for pair in sorted(conflicts):
        if not all(name in tried for name in pair):
            continue
        worse, better = sorted((tried[name] for name in pair), key=lambda e: (e.mean, e.rule))
        gap, half = better.mean - worse.mean, z * math.hypot(better.standard_error, worse.standard_error)
        if gap > half:
            reasons[worse.rule] = (
                f"says the opposite of rule {better.rule}, which does better by {gap:.3f} "
                f"({gap - half:.3f} to {gap + half:.3f})"
            )
    return reasons


def helpful_rules(
    effects: Sequence[RuleEffect],
    count: int,
    options: EffectOptions | None = None,
    conflicts: Collection[tuple[str, str]] = (),
    *,
    among: Collection[str] | None = None,
) -> tuple[str, ...]:
    """Ids for `Memory.freeze`: at most `count` whose lower bound is above zero, best bound first.

    Of two that conflict the better one is kept. `among` limits the choice, as to rules that were not retired.
    """
    options = options or EffectOptions()
    barred, kept = {frozenset(pair) for pair in conflicts}, list[str]()
    for effect in sorted(effects, key=lambda e: (-e.low, e.rule)):
        tried = effect.uses >= options.min_uses and (among is None or effect.rule in among)
        if tried and effect.low > 0 and len(kept) < count:
            if not any(frozenset((effect.rule, other)) in barred for other in kept):
                kept.append(effect.rule)
    return tuple(kept)


def _posterior(
    design: np.ndarray, rho: np.ndarray, differences: np.ndarray, paired: np.ndarray, prior_std: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of effects and intercept; noise of either kind of row from its own residuals.

    The difference of two levels has the noise of both; that of few pairs is held near it.
    """
    prior = np.full(design.shape[1], 1 / prior_std**2)
    prior[-1] = 0.0  # nothing is assumed of the mean
    noise = max(float(rho.std()), _LEAST_NOISE)
    paired_noise = math.sqrt(2) * noise
    mean, covariance = np.zeros(design.shape[1]), np.eye(design.shape[1])
    for _ in range(5):  # noise and effects in turn
        precision = design.T @ design / noise**2 + differences.T @ differences / paired_noise**2 + np.diag(prior)
        covariance = np.linalg.inv(precision)
        mean = covariance @ (design.T @ rho / noise**2 + differences.T @ paired / paired_noise**2)
        noise = _residual(rho - design @ mean, design, covariance)
        own = _residual(paired - differences @ mean, differences, covariance)
        squares = len(paired) * own**2 + _PRIOR_PAIRS * 2 * noise**2
        paired_noise = max(math.sqrt(squares / (len(paired) + _PRIOR_PAIRS)), _LEAST_NOISE)
    return mean, covariance


def _residual(rest: np.ndarray, rows: np.ndarray, covariance: np.ndarray) -> float:
    """Expected size of the noise: residuals, and what is not known of the fit."""
    if not len(rest):
        return 1.0
    spread = np.einsum("ij,jk,ik->i", rows, covariance, rows)
    return max(float(np.sqrt((rest**2 + spread).mean())), _LEAST_NOISE)
