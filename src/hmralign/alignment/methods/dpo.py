"""DPO on pairs.  Source: Wallace et al. 2024, eq. 14; ADHMR, Shen et al. 2025, eq. 5.

Presets quote where they come from.

| in code | symbol |
| --- | --- |
| `policy_...`, `reference_...` | L_theta, L_ref: squared noise errors, one per sample |
| `beta` | beta T lambda_t of the papers, in one number |
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from hmralign.alignment.drift import drift_of
from hmralign.alignment.method import OfflineMethod, require_weights
from hmralign.alignment.methods.sft import true_samples
from hmralign.alignment.scored_groups import ScoredGroups, speaking_groups
from hmralign.policies.policy import BodyEncoder, DiffusionPolicy
from hmralign.preferences.pairs import sampled_pairs
from hmralign.structures import InputError
from hmralign.training.objective import Items, Losses, Objective, Shared


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
    labelled_pairs: Literal["as_others", "truth_and_mode"] = "as_others"
    """What labelled groups give (`labelled.share`): pairs as the others', or the annotation against the zero-noise
    sample, as the labelled sets of the code."""
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
        require_weights("dpo", beta=self.beta, kappa=self.kappa, anchor=self.anchor)
        if self.by_parts and self.kappa > 0:
            raise InputError("dpo: the drift is of whole vectors; expected kappa = 0 with by_parts")


ADHMR_PAPER = DpoConfig(beta=100.0, top_k=5, shares="time")
"""ADHMR sec. 4.3: winners and losers of the model's own samples; beta and K = 5 are those of its code's lists."""

ADHMR_CODE = DpoConfig(
    beta=50.0, top_k=5, labelled_pairs="truth_and_mode", shares="time_and_noise", by_parts=True, antithetic=True
)
"""The public code (SMPLCap/ADHMR at 6939019): beta 100 times 0.5, two sigmoids; of its labelled sets, half of each
batch (`labelled`), the truth against the zero-noise sample, of the others the top five of the scorer against the bottom
five.

It also has the policy's dropout on (`training.dropout`; `lite` has none), lambda_t = 1 (`training.loss_weight: eps`), a
rate of 5e-5 that is halved once (`training.halved_at`), an average of decay 0.9999, and it trains the image encoder at
twice the denoiser's rate (`training.trainable: all`, `training.encoder_rate`).
"""


def dpo(
    policy_chosen: Float[Tensor, "*batch"],
    policy_rejected: Float[Tensor, "*batch"],
    reference_chosen: Float[Tensor, "*batch"],
    reference_rejected: Float[Tensor, "*batch"],
    *,
    beta: float,
) -> Float[Tensor, "*batch"]:
    """-log sigmoid(-beta ((L_w - L_l)_theta - (L_w - L_l)_ref)); log 2 where policy and reference agree.

    A trailing axis of parts (joints, twists) gives one sigmoid per part, as the public ADHMR code does; summed they are
    2 log 2 at the start.
    """
    delta = (policy_chosen - policy_rejected) - (reference_chosen - reference_rejected)
    return -logsigmoid(-beta * delta)


def dpo_items(groups: ScoredGroups, policy: DiffusionPolicy, config: DpoConfig, generator: torch.Generator) -> Items:
    """Pairs (chosen, rejected). Raises InputError where top and bottom overlap, for truth where there is none or that
    the policy cannot encode, and for labelled pairs where nobody is labelled."""
    if config.pairs == "truth_and_mode":
        return _truth_and_mode(groups, policy)
    if config.labelled_pairs == "as_others":
        return sampled_items(groups, config, generator)
    if groups.labelled is None:
        raise InputError(
            "dpo: labelled_pairs is truth_and_mode, and no group is labelled; expected labelled.share above 0"
        )
    kinds = groups.labelled.nonzero()[:, 0], (~groups.labelled).nonzero()[:, 0]
    made = _truth_and_mode(groups[kinds[0]], policy), sampled_items(groups[kinds[1]], config, generator)
    return Items.cat([replace(items, person=kind[items.person]) for kind, items in zip(kinds, made, strict=True)])


def _truth_and_mode(groups: ScoredGroups, policy: DiffusionPolicy) -> Items:
    if not isinstance(policy, BodyEncoder):
        raise InputError("dpo: pairs of the truth need a policy that encodes bodies, and this one has no `from_body`")
    truth = true_samples(groups, policy, "dpo")
    x_0 = torch.cat([truth, groups.x_0[:, :1]], dim=1)  # hypothesis 0 is the zero-noise sample
    return Items(torch.arange(len(groups)), x_0, _signs(len(groups)))


def sampled_items(groups: ScoredGroups, config: DpoConfig, generator: torch.Generator) -> Items:
    """Pairs of the model's own samples, ordered by their scores."""
    kept = speaking_groups(groups.scores)
    pairs = sampled_pairs(groups.scores[kept], config.top_k, generator, pairs_per_group=config.pairs_per_group)
    person = kept[pairs.group]
    x_0 = torch.stack([groups.x_0[person, pairs.chosen], groups.x_0[person, pairs.rejected]], dim=1)
    return Items(person, x_0, _signs(len(person)))


def _signs(n: int) -> Float[Tensor, "n 2"]:
    return torch.tensor([1.0, -1.0]).expand(n, 2)


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
    return terms + config.kappa * drift_of(losses).mean(-1) if config.kappa > 0 else terms


def make_dpo() -> OfflineMethod:
    """The method `dpo`. Its rate was chosen on validation persons with the learned scorer (docs/results/alignment.md);
    with reprojection it gains nothing at any rate."""
    return OfflineMethod(
        "dpo",
        DpoConfig,
        dpo_items,
        dpo_objective,
        needs_truth=lambda config: "truth_and_mode" in (config.pairs, config.labelled_pairs),
    )
