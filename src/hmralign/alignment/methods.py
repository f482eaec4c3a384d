"""Offline methods: their settings, and the objective that the loop is told to run.

Terms are those of `alignment.objectives`; what is said here is which losses a method asks for and what its settings are
called. Presets quote where they come from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.alignment.objectives import (
    GroupMode,
    diffusion_nft,
    dpo,
    drift,
    group,
    kto,
    weighted_denoising,
    winner_anchor,
)
from hmralign.structures import InputError
from hmralign.training.objective import Losses, Objective, Shared


def _require_weights(method: str, **values: float) -> None:
    """Raise InputError where a weight is negative or not finite, or a beta is not positive."""
    for name, value in values.items():
        if not 0 <= value < math.inf or (value == 0 and name.endswith("beta")):
            raise InputError(f"{method}: {name} is {value}; a beta must be positive, a weight not negative")


@dataclass(frozen=True)
class SftConfig:
    """Plain denoising on one target per person."""

    target: Literal["own_mean", "pseudo", "truth"] = "own_mean"
    """`own_mean`: the mean of the model's own group, a control that teaches nothing but to be surer; `pseudo`: that
    mean moved onto the keypoints; `truth`: the annotation, the ceiling of what preferences could teach."""
    target_noise: float = 0.0
    """Standard deviation of noise added to targets, in standard deviations of x_0: keeps a control from collapsing."""


@dataclass(frozen=True)
class BestOfNConfig:
    """Plain denoising on the best of each group (RAFT, Dong et al. 2023)."""

    top_k: int = 1
    """How many of each group."""
    refine_targets: bool = False
    """Move targets onto the keypoints before training on them."""
    fuse: float = 0.0
    """Pull the top K so far towards their mean: 0 leaves them, 1 makes them equal."""
    reprojection: float = 0.0
    """Weight of the reprojection loss of x_0-hat, times alpha_bar^2."""
    choose_at_random: bool = False
    """Control: targets are random members instead of the best."""

    def __post_init__(self) -> None:
        """Raise InputError for values without meaning."""
        if not 0 <= self.fuse <= 1 or not 0 <= self.reprojection < math.inf:
            raise InputError("best_of_n: fuse must be in 0..1 and reprojection not negative")


@dataclass(frozen=True)
class DpoConfig:
    """Pairs (Wallace et al. 2024; ADHMR eq. 5)."""

    beta: float = 30.0
    """beta T of the papers in one number, on mean squared errors."""
    pairs: Literal["top_bottom", "truth_and_mode"] = "top_bottom"
    """Winners from the top K and losers from the bottom K, or the annotation against the zero-noise sample."""
    top_k: int = 4
    """K."""
    pairs_per_group: int | None = None
    """How many pairs of each group; K unless given."""
    shares: Shared = "time_and_noise"
    """What winner and loser share: the paper prints one t and two eps, its code has one of each."""
    by_parts: bool = False
    """One sigmoid for joints and one for twists, as in the code."""
    antithetic: bool = False
    """Times in pairs t, T - 1 - t, as in the code."""
    kappa: float = 0.0
    """Weight of the drift from the reference."""
    anchor: float = 0.0
    """Weight of plain denoising on winners."""

    def __post_init__(self) -> None:
        """Raise InputError for values without meaning, and choices that exclude each other."""
        _require_weights("dpo", beta=self.beta, kappa=self.kappa, anchor=self.anchor)
        if self.by_parts and self.kappa > 0:
            raise InputError("dpo: the drift is of whole vectors; expected kappa = 0 with by_parts")


ADHMR_PAPER = DpoConfig(beta=100.0, top_k=5, shares="time")
"""ADHMR sec. 4.3: winners and losers of the model's own samples; beta and K = 5 are those of its code's lists."""

ADHMR_CODE = DpoConfig(
    beta=50.0, pairs="truth_and_mode", shares="time_and_noise", by_parts=True, antithetic=True, pairs_per_group=1
)
"""The public code on its labelled sets: beta 100 times 0.5, two sigmoids, the truth against the zero-noise sample.

It also has the policy's dropout on (`training.dropout`; `lite` has none), lambda_t = 1 (`training.loss_weight: eps`), a
rate of 5e-5, an average of decay 0.9999, and it trains the image encoder.
"""


@dataclass(frozen=True)
class KtoConfig:
    """Single samples that are desirable or not (Ethayarajh et al. 2024), as the public ADHMR code has it."""

    beta: float = 30.0
    """Sharpness."""
    top_k: int = 4
    """The top K of a group are desirable, the bottom K are not."""
    supervised: float = 0.1
    """Weight of plain denoising on the desirable ones."""

    def __post_init__(self) -> None:
        """Raise InputError for values without meaning."""
        _require_weights("kto", beta=self.beta, supervised=self.supervised)


@dataclass(frozen=True)
class GroupConfig:
    """Whole groups with advantages (GPA eq. 6 and its bounded relatives)."""

    mode: GroupMode | Literal["nft"] = "sigmoid"
    """See `objectives.group`; `nft` is the two-branch form of DiffusionNFT."""
    beta: float = 30.0
    """Sharpness of sigmoids; without effect in the other modes."""
    nft_beta: float = 1.0
    """`nft`: share of the new prediction in its branches."""
    margin: float = 0.5
    """`hinge`: worse members have no say beyond it."""
    kappa: float = 0.0
    """Weight of the drift from the reference."""
    anchor: float = 0.0
    """Weight of plain denoising on better members."""
    normalize: bool = True
    """Divide by the standard deviation within the group."""
    std_floor: float = 1e-3
    """Smallest standard deviation of scores that says something, in units of the critic."""
    below_floor: Literal["drop", "divide"] = "drop"
    """What happens to groups below it."""
    clip: float | None = None
    """Bound on |A|."""
    group_weights: Literal["equal", "std"] = "equal"
    """Whether groups of more distinct scores weigh more."""
    shares: Shared = "nothing"
    """What the members of a group share: with `nothing` each has a time and a noise of its own, which is less noisy per
    step; with `time_and_noise` all have one of each, as GPA eq. 6 is printed and its code does. Either way policy and
    reference see the same."""

    def __post_init__(self) -> None:
        """Raise InputError for values without meaning."""
        _require_weights("group", beta=self.beta, nft_beta=self.nft_beta, kappa=self.kappa, anchor=self.anchor)


GPA_PAPER = GroupConfig(mode="literal", shares="time_and_noise")
"""GPA eq. 6 as printed, one t and one eps per group, with kappa = 0: no lower bound, so a run is ended by its guard or
its number of steps."""


def best_of_n_objective(config: BestOfNConfig | SftConfig) -> Objective:
    """Plain denoising; the weights are shares."""
    name = "sft" if isinstance(config, SftConfig) else "best_of_n"
    return Objective(name, lambda losses: weighted_denoising(losses.policy, losses.weights), needs_reference=False)


def dpo_objective(config: DpoConfig) -> Objective:
    """Items are (chosen, rejected)."""
    return Objective(
        "dpo",
        lambda losses: _dpo_terms(losses, config),
        needs_prediction=config.kappa > 0,
        by_parts=config.by_parts,
        shares=config.shares,
        antithetic=config.antithetic,
    )


def _dpo_terms(losses: Losses, config: DpoConfig) -> Float[Tensor, " item"]:
    policy, reference = losses.policy, losses.reference
    assert reference is not None
    terms = dpo(policy[:, 0], policy[:, 1], reference[:, 0], reference[:, 1], beta=config.beta)
    if config.by_parts:
        terms = terms.sum(-1)
    if config.anchor > 0:
        chosen = policy[:, 0]
        terms = terms + config.anchor * (chosen.sum(-1) if config.by_parts else chosen)
    return terms + config.kappa * _drift(losses).mean(-1) if config.kappa > 0 else terms


def kto_objective(config: KtoConfig) -> Objective:
    """Items of one sample with weight +1 or -1."""
    return Objective("kto", lambda losses: _kto_terms(losses, config), needs_batch=True)


def _kto_terms(losses: Losses, config: KtoConfig) -> Float[Tensor, "item member"]:
    assert losses.reference is not None
    terms = kto(losses.policy, losses.reference, losses.weights, beta=config.beta)
    return terms + config.supervised * losses.policy * (losses.weights > 0)


def group_objective(config: GroupConfig) -> Objective:
    """Items are groups with their advantages."""
    return Objective(
        f"group_{config.mode}",
        lambda losses: _group_terms(losses, config),
        needs_prediction=config.kappa > 0 or config.mode == "nft",
        shares=config.shares,
    )


def _group_terms(losses: Losses, config: GroupConfig) -> Float[Tensor, "item member"]:
    assert losses.reference is not None
    advantages = losses.weights
    if config.mode == "nft":
        assert losses.prediction is not None
        p = losses.prediction
        optimality = 0.5 + 0.5 * advantages.clamp(-1, 1)
        terms = diffusion_nft(p.policy, p.reference, p.target, optimality, beta=config.nft_beta)
    else:
        terms = group(
            losses.policy, losses.reference, advantages, mode=config.mode, beta=config.beta, margin=config.margin
        )
    if config.anchor > 0:
        terms = terms + config.anchor * winner_anchor(losses.policy, advantages)
    return terms + config.kappa * _drift(losses) if config.kappa > 0 else terms


def _drift(losses: Losses) -> Float[Tensor, "item member"]:
    assert losses.prediction is not None
    return drift(losses.prediction.policy, losses.prediction.reference)


def group_weights(scores: Float[Tensor, "group hyp"], config: GroupConfig) -> Float[Tensor, " group"]:
    """Weight of each group, on average 1."""
    if config.group_weights == "equal":
        return torch.ones_like(scores[:, 0])
    std = scores.double().std(-1, correction=0)  # float64, as the advantages
    return (std / std.mean().clamp(min=1e-12)).to(scores.dtype)
