"""A scorer that learns from the scores of any critic in a store: as fast as a small network, and it sees no picture.

    store + scores of a critic -> groups with targets -> scorer -> calibration on held-out groups -> file

Learned is the order within groups, weighted by standard errors where the critic is a judge that gives them; groups in
which it is silent are left out. The last groups of the store are held out. What the outputs mean is fitted on them: the
expected quality where the store has truth, otherwise the critic's own score between the 1 % and 99 % quantiles of what
it gave, as 0 to 1.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.model import BodyModel
from hmralign.critics.controls import OracleCritic
from hmralign.critics.critic import judge
from hmralign.evaluation.critic_audit import audit_critic
from hmralign.fitting.detector_noise import noise_of
from hmralign.models.scorer_calibration import Calibration, fit_calibration, fit_scale
from hmralign.models.scorer_features import scorer_input
from hmralign.preferences.store import GroupStore
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.systems.group_preference.verdict_files import read_verdicts, verdicts_path
from hmralign.training.distillation_losses import reliability
from hmralign.training.scorer import HypothesisSet, ScorerTrainingConfig

logger = logging.getLogger("hmralign.scorer")

LEAST_GROUPS = 10
"""Held out, and learned from."""


@dataclass(frozen=True)
class DistilConfig:
    """Whose scores are learned."""

    store: str = ""
    """Folder of a store of groups (`hmralign groups`); empty: errors of labelled persons are learned instead."""
    critic: str = ""
    """Name of the scores in it."""
    held_out_share: float = 0.15
    """Share of the groups, the last ones, on which the scale of the outputs is fitted and the order checked."""
    needs_truth_is_fine: bool = False
    """Whether the critic may be one that has seen the truth; a scorer that learns from it has seen labels."""

    def __post_init__(self) -> None:
        """Raise InputError for a store without a critic, and shares without meaning."""
        if bool(self.store) != bool(self.critic):
            raise InputError("distil: store and critic go together; expected both")
        if not 0 < self.held_out_share < 1:
            raise InputError(f"distil: held_out_share is {self.held_out_share}; expected a share between 0 and 1")


@dataclass(frozen=True)
class DistilSets:
    """What is learned from, and what is held out."""

    training: HypothesisSet
    held_out: HypothesisSet
    scores: Float[Tensor, "group hyp"]
    """The critic's scores of the held-out groups."""
    mpjpe: Float[Tensor, "group hyp"] | None
    """Errors of the held-out groups, metres; None without truth."""
    bounds: tuple[float, float]
    """Scores that become 0 and 1 where there is no truth."""
    sources: tuple[str, ...]
    made_by: dict[str, Any]


def require_distillable(training: ScorerTrainingConfig) -> None:
    """Raises InputError for settings that learn something else than one order."""
    if training.loss != "listwise_ranknet" or training.model.heads != "one":
        raise InputError(
            f"a critic gives one score on a scale of its own: set training.loss to listwise_ranknet (it is "
            f"{training.loss}) and training.model.heads to one (it is {training.model.heads})"
        )


def distil_sets(config: DistilConfig, body: BodyModel) -> DistilSets:
    """Groups of the store with the critic's scores as targets.

    Raises InputError for groups of another skeleton, scores that are missing, a critic that needs truth where that was
    not allowed, too few groups in which the critic has an opinion, and as `GroupStore`.
    """
    store = GroupStore.open(config.store)
    if store.facts.skeleton_hash != body.skeleton_hash:
        raise InputError(f"{store.folder}: its groups are of another skeleton than the scorer's body")
    scores = store.scores(config.critic)
    if store.critic_facts(config.critic).get("needs_truth") and not config.needs_truth_is_fine:
        raise InputError(
            f"'{config.critic}' has seen the truth, so its scores are labels; set distil.needs_truth_is_fine to learn "
            "them all the same"
        )
    weights = reliability(scores, standard_errors(store, config.critic))
    heard = weights.amax(1) > 0
    first_held = len(store) - round(config.held_out_share * len(store))
    number = torch.arange(len(store))
    learned, held = number[heard & (number < first_held)], number[heard & (number >= first_held)]
    if min(len(learned), len(held)) < LEAST_GROUPS:
        raise InputError(
            f"{store.folder}: '{config.critic}' has an opinion on {counted(len(learned), 'group')} to learn "
            f"from and {len(held)} "
            f"held out; expected at least {LEAST_GROUPS} of each"
        )
    logger.info("%d groups to learn from, %d held out, %d silent", len(learned), len(held), int((~heard).sum()))
    everything, mpjpe = _described(store, scores, weights, body)
    low, high = np.quantile(scores[learned].numpy(), [0.01, 0.99])
    facts = store.critic_facts(config.critic)
    return DistilSets(
        training=_some(everything, learned),
        held_out=_some(everything, held),
        scores=scores[held],
        mpjpe=None if mpjpe is None else mpjpe[held],
        bounds=(float(low), float(high)),
        sources=(store.facts.source, f"critic:{config.critic}"),
        made_by={"store": store.content_hash(), "critic": facts["sha256"]},
    )


def standard_errors(store: GroupStore, critic: str) -> Float[Tensor, "group hyp"] | None:
    """Standard errors of a judge's scores, NaN where they are not known; None for critics that give none."""
    if not verdicts_path(store, critic, 0).is_file():
        return None
    rows = []
    for line in read_verdicts(store, critic):
        values = line.get("standard_error") or [None] * store.facts.group_size
        if len(values) != store.facts.group_size:
            raise InputError(
                f"{store.folder}: group '{line['id']}' has {counted(len(values), 'standard error')} by '{critic}'"
            )
        rows.append([float("nan") if v is None else float(v) for v in values])
    return torch.tensor(rows)


def _described(
    store: GroupStore, scores: Tensor, weights: Tensor, body: BodyModel
) -> tuple[HypothesisSet, Float[Tensor, "group hyp"] | None]:
    """All groups as a scorer sees them, and their errors where there is truth."""
    offsets, truth = noise_of(store.facts.detector).offsets, store.facts.with_truth
    parts, errors, start = [], [], 0
    for shard in range(store.num_shards):
        groups = store.read(shard, truth=truth)
        some = slice(start, start + len(groups))
        x = scorer_input(body, groups.hypotheses.body, groups.example.observation, offsets)
        parts.append(HypothesisSet(x, -scores[some][..., None], weights[some]))
        if truth:
            errors.append(-judge(OracleCritic(), groups.hypotheses, groups.example))
        start = some.stop
    return HypothesisSet.join(parts), torch.cat(errors) if errors else None


def _some(data: HypothesisSet, index: Tensor) -> HypothesisSet:
    weights = None if data.weights is None else data.weights[index]
    return replace(data, input=data.input[index], errors=data.errors[index], weights=weights)


def distilled_calibration(sets: DistilSets, outputs: Float[Tensor, "group hyp"]) -> Calibration:
    """What outputs mean: quality where truth is known, otherwise the critic's score between its bounds."""
    flat = outputs.flatten().numpy()
    if sets.mpjpe is not None:
        return fit_calibration(flat, sets.mpjpe.flatten().numpy())
    low, high = sets.bounds
    share = ((sets.scores.double() - low) / max(high - low, 1e-12)).clamp(0, 1)
    return fit_scale(flat, share.flatten().numpy())


def distilled_record(sets: DistilSets, outputs: Float[Tensor, "group hyp"], config: DistilConfig) -> dict[str, Any]:
    """How well the scorer gives the critic's order on held-out groups, and what its numbers mean."""
    said = outputs.double().numpy()
    # A critic's scores stand for minus errors here: the same measures, of agreement instead of truth.
    agreement = audit_critic(said, -sets.scores.double().numpy(), draws=1000).per_group
    record: dict[str, Any] = {
        "critic": config.critic,
        "groups": {"learned": len(sets.training), "held_out": len(sets.held_out)},
        "agreement": {n: _plain(agreement[n]) for n in ("srcc", "kendall", "pair_accuracy")},
        "scale": "expected quality exp(-MPJPE / 0.1 m)" if sets.mpjpe is not None else "the critic's score",
    }
    if sets.mpjpe is None:
        return record | {"score_at_0": sets.bounds[0], "score_at_1": sets.bounds[1]}
    errors = sets.mpjpe.double().numpy()
    own, critics = (audit_critic(s, errors).per_group["srcc"] for s in (said, sets.scores.double().numpy()))
    return record | {"srcc_with_truth": {"scorer": _plain(own), "critic": _plain(critics)}}


def _plain(interval: Any) -> list[float]:
    return [round(v, 4) for v in (interval.mean, interval.low, interval.high)]
