"""Groups with everything that is measured of them: scores, errors by segment, kinds of mistake, what was observed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from hmralign.body.model import BodyModel
from hmralign.critics.catalogue import make_critic
from hmralign.critics.critic import judge
from hmralign.critics.names import CRITICS, CriticChoice
from hmralign.evaluation.mistakes.kinds import mistakes, turned_away
from hmralign.evaluation.mistakes.segments import error_by_segment, hidden_segments
from hmralign.evaluation.visibility import hidden_joints, nearest_keypoints
from hmralign.preferences.store import GroupStore
from hmralign.structures import BodyParams, Hypotheses, InputError
from hmralign.studies.critic_audit.audit import cluster_of, scores_of

BY_GROUP = "consistency"
"""The critic that has nothing to say of a body alone."""


@dataclass(frozen=True)
class JudgedGroups:
    """Axes are group (a person each), hyp and the 14 segments."""

    ids: tuple[str, ...]
    clusters: Int[np.ndarray, " group"]
    scores: dict[str, Float[np.ndarray, "group hyp"]]
    shares: Float[np.ndarray, "group hyp 14"]
    """Share of each segment in the MPJPE, metres."""
    kinds: Int[np.ndarray, "group hyp 14"]
    hidden: Bool[np.ndarray, "group 14"]
    turned: Float[np.ndarray, "group hyp"]
    """Angle to the true rotation of the pelvis, radians."""
    of_truth: dict[str, Float[np.ndarray, " group"]] = field(default_factory=dict)
    """Score that a critic gives to the true body; of critics that judge single bodies."""

    @property
    def errors(self) -> Float[np.ndarray, "group hyp"]:
        """MPJPE over 24 joints, pelvis in place, metres."""
        return self.shares.sum(-1)


def judged_groups(store: GroupStore, critics: Sequence[str], body: BodyModel) -> JudgedGroups:
    """Measure every group of a store; critics that have not scored it are asked now.

    Raises InputError for a store without truth or without groups, and as `critic_audit.audit.scores_of`.
    """
    if not store.facts.with_truth or not len(store):
        raise InputError(f"{store.folder}: kinds of mistakes need groups with truth; expected a store that keeps it")
    nearest = nearest_keypoints(body)
    shares, kinds, hidden, turned = [], [], [], []
    for shard in range(store.num_shards):
        groups = store.read(shard, truth=True)
        truth, observation = groups.example.annotation, groups.example.observation
        assert truth is not None
        hidden.append(hidden_segments(hidden_joints(nearest, observation)))
        kinds.append(mistakes(body, groups.hypotheses, truth, hidden[-1]))
        shares.append(error_by_segment(groups.hypotheses.joints, truth.joints[:, None]))
        turned.append(turned_away(groups.hypotheses, truth))
    _, clusters = np.unique([cluster_of(name) for name in store.ids], return_inverse=True)
    scores = {name: scores_of(store, name, len(store), body)[0] for name in critics}
    known = [name for name in critics if name in tuple(CRITICS) and name != BY_GROUP]
    of_truth = {name: truth_scores(store, name, body) for name in known}
    return JudgedGroups(
        tuple(store.ids), clusters, scores, torch.cat(shares).numpy(), torch.cat(kinds).numpy(),
        torch.cat(hidden).numpy(), torch.cat(turned).numpy(), of_truth,
    )  # fmt: skip


def truth_scores(store: GroupStore, name: CriticChoice, body: BodyModel) -> Float[np.ndarray, " group"]:
    """What a critic says of the true bodies, each a group of one."""
    facts, parts = store.facts, []
    for shard in range(store.num_shards):
        critic = make_critic(name, body, facts.detector, seed=facts.seed, persons=store.shard_ids(shard))
        example = store.read(shard, truth=True).example
        truth = example.annotation
        assert truth is not None
        alone = Hypotheses(BodyParams.stack([truth.body], dim=1), truth.joints[:, None])
        parts.append(judge(critic, alone, example)[:, 0])
    return torch.cat(parts).double().numpy()
