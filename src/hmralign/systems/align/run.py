"""An alignment run: groups of a store -> items -> steps -> an aligned policy, in one round or several.

store + scores -> items of the method -> loop (guarded, resumable) -> average
with refresh:  average -> groups sampled anew -> scores -> items -> loop -> ...
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from hmralign.alignment.advantages import silent_groups
from hmralign.alignment.catalogue import make_method
from hmralign.alignment.held_out import HeldOut, split_held_out
from hmralign.alignment.labelled import label_groups
from hmralign.alignment.method import Round
from hmralign.alignment.rewards import critic_reward
from hmralign.alignment.scored_groups import ScoredGroups, load_groups, place_of
from hmralign.body.model import BodyModel
from hmralign.critics.catalogue import make_critic
from hmralign.critics.critic import Critic
from hmralign.critics.names import CRITICS
from hmralign.policies.policy import state_hash
from hmralign.preferences.build import GroupStoreConfig, build_groups
from hmralign.preferences.person_source import SourceBatch
from hmralign.preferences.store import GroupStore
from hmralign.storage.seeds import derived_seed
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.systems.align.configuration import AlignConfig
from hmralign.training.contexts import LiveContexts, cache_contexts, encoder_is_trained
from hmralign.training.guard import SMALLEST_STD
from hmralign.training.offline import OfflineStep
from hmralign.training.preference import Monitor, Outcome, StepLosses, choose_trainable, train_policy

logger = logging.getLogger("hmralign.align")


@dataclass(frozen=True)
class Aligned:
    """Result of a run."""

    policy: Any
    rounds: int
    """Rounds that count."""
    stopped: str | None
    """Why the run ended early; None where it did not."""
    groups: int
    """Groups of the last round that were neither held out nor silent."""


def align_policy(
    policy: Any,
    policy_sha256: str,
    body: BodyModel,
    store: GroupStore,
    config: AlignConfig,
    folder: Path,
    *,
    reward: Critic | None = None,
) -> Aligned:
    """Align any `DiffusionPolicy` with the groups of a store; resumes from `folder`.

    `policy` is the start and becomes the reference; it is not changed. Everything is computed where it and `body` are.
    `reward` replaces the critic that
    `direct-reward` and the reprojection of x_0-hat follow.

    Raises InputError for groups that do not fit the policy, scores that are not there, as `check_persons`, and as the
    method does.
    """
    check_persons(store, config)
    reference = _frozen(policy)
    truth = _needs_truth(config)
    critic = config.critic if config.uses_scores else None
    groups = load_groups(store, critic, reference, policy_sha256, truth=truth)
    by_truth = None if config.labelled.scores is None else store.scores(config.labelled.scores)
    groups = label_groups(groups, by_truth, config.labelled, config.training.seed)
    stopped, best, rounds, trained = None, None, 0, 0
    for number in range(config.refresh.rounds):
        place = folder if number == 0 else folder / f"round_{number:02d}"
        if number > 0:
            groups = _sampled_anew(reference, body, store, config, place, number)
        found, trained = _one_round(reference, groups, body, config, place, number, reward, store.facts.detector)
        look = found.look
        if best is not None and _exploits(look, best, config):
            stopped = f"round {number} lowered the held-out score from {best['held_out']:.4g} to {look['held_out']:.4g}"
            stopped += "" if found.stopped is None else f" (and was stopped: {found.stopped})"
            logger.warning("%s: it is thrown away", stopped)
            break
        reference, rounds, best = _frozen(found.policy), number + 1, look if best is None else _better(best, look)
        if found.stopped is not None:
            stopped = found.stopped
            break
    return Aligned(reference, rounds, stopped, trained)


def check_persons(store: GroupStore, config: AlignConfig) -> None:
    """Raise InputError where fewer persons can be learned from than `min_persons`.

    Groups whose scores are all alike teach nothing and do not count; where all are, the method says so.
    """
    telling = len(store)
    if config.uses_scores:
        telling -= int(silent_groups(store.scores(config.critic), 1e-12).sum())
    if telling >= config.min_persons or (telling == 0 and len(store) > 0):
        return
    alike = (
        ""
        if telling == len(store)
        else f" (and {counted(len(store) - telling, 'person')} with equal scores by {config.critic})"
    )
    raise InputError(
        f"{store.folder}: {counted(telling, 'person')} to learn from{alike} are too few to align a model; "
        f"expected at least {config.min_persons}, and some 1,000 bring most of the gain (to try fewer, set min_persons "
        "in the configuration)"
    )


def _frozen(policy: Any) -> Any:
    return copy.deepcopy(policy).eval().requires_grad_(False)


def _needs_truth(config: AlignConfig) -> bool:
    return make_method(config.method).needs_truth(config.settings)


def _one_round(
    reference: Any,
    groups: ScoredGroups,
    body: BodyModel,
    config: AlignConfig,
    folder: Path,
    number: int,
    reward: Critic | None,
    detector: str,
) -> tuple[Outcome, int]:
    training = replace(config.training, seed=derived_seed(config.training.seed, "round", number))
    trained, held_out = split_held_out(groups, config.held_out_share, config.max_held_out, config.training.seed)
    policy = copy.deepcopy(reference)
    choose_trainable(policy, training)
    losses = step_losses(policy, reference, trained, body, replace(config, training=training), reward, detector)
    used = len(losses.items.person.unique()) if isinstance(losses, OfflineStep) else len(trained)
    return train_policy(policy, losses, training, folder, _monitor(held_out, body, config, detector)), used


def step_losses(
    policy: Any,
    reference: Any,
    groups: ScoredGroups,
    body: BodyModel,
    config: AlignConfig,
    reward: Critic | None = None,
    detector: str = "mediapipe",
) -> StepLosses:
    """What a method minimises on these groups; `detector` says whose noise its critics assume.

    Raises InputError where there is nothing to train on, and for a reward without a gradient.
    """
    training, seen = config.training, groups.observation.to(place_of(reference))
    trains_encoder = encoder_is_trained(policy, policy.denoiser)
    if training.cache_context:
        contexts = cache_contexts(reference, seen, training.context_variants, trains_encoder=trains_encoder)
    else:
        contexts = LiveContexts(seen, training.context_variants)
    method, followed = make_method(config.method), None
    if (name := method.followed(config.settings, config.critic)) is not None:
        followed = critic_reward(reference, reward or make_critic(name, body, detector), seen)
        with torch.enable_grad():  # a critic without a gradient is named before the run begins
            followed(groups.x_0[:1].to(seen.box.device, copy=True).requires_grad_(True), torch.arange(1), 0)
    return method.losses(Round(groups, reference, contexts, training, followed, config.labelled), config.settings)


def _monitor(held_out: ScoredGroups, body: BodyModel, config: AlignConfig, detector: str) -> Monitor | None:
    if len(held_out) == 0:
        return None
    if "mix" in (config.critic, config.held_out_critic):
        logger.warning("mix contains the other critics, so '%s' is not independent of it", config.held_out_critic)
    critics = {"held_out": make_critic(config.held_out_critic, body, detector)}
    if config.held_out_critic != "reprojection":
        critics["reprojection"] = make_critic("reprojection", body, detector)
    if any(critic.needs_truth for critic in critics.values()):
        raise InputError(f"critic '{config.held_out_critic}' needs truth; a held-out critic never sees any")
    return HeldOut(held_out.observation, critics, config.held_out_hypotheses)


def _exploits(look: dict[str, Any], best: dict[str, Any], config: AlignConfig) -> bool:
    if "held_out" not in look or "held_out" not in best:
        return False
    return best["held_out"] - look["held_out"] > config.refresh.tolerance * max(
        best.get("held_out_std", 1.0), SMALLEST_STD
    )


def _better(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    return b if b.get("held_out", 0.0) >= a.get("held_out", 0.0) else a


@dataclass(frozen=True)
class StoreSource:
    """The persons of a store, to be sampled again by another policy."""

    store: GroupStore

    @property
    def name(self) -> str:
        """Name of the store's source: the persons are the same ones."""
        return self.store.facts.source

    @property
    def sha256(self) -> str:
        """Hash of the groups whose persons these are."""
        return self.store.content_hash()

    @property
    def has_truth(self) -> bool:
        """As the store has."""
        return self.store.facts.with_truth

    def batches(self, size: int, done: Set[str]) -> Iterator[SourceBatch]:
        """The store's shards."""
        for shard in range(self.store.num_shards):
            ids = self.store.shard_ids(shard)
            if ids[0] not in done:
                yield SourceBatch(ids, self.store.read(shard, truth=self.has_truth).example)


def _sampled_anew(
    policy: Any, body: BodyModel, store: GroupStore, config: AlignConfig, folder: Path, number: int
) -> ScoredGroups:
    facts = store.facts
    settings = GroupStoreConfig(
        group_size=facts.group_size, num_steps=facts.sampler_steps, detector=facts.detector,
        with_truth=facts.with_truth, shard_size=facts.shard_size, seed=derived_seed(facts.seed, "round", number),
    )  # fmt: skip
    if not config.uses_scores:
        raise InputError(f"{config.method} has no scores to refresh; expected refresh.rounds = 1")
    recorded = store.critic_facts(config.critic).get("settings", {})
    name = recorded.get("critic")
    if not isinstance(name, str) or name not in CRITICS:
        raise InputError(f"scores '{config.critic}' are not by a critic that is computed here, so groups cannot be "
                         "refreshed; expected refresh.rounds = 1")  # fmt: skip
    settings = replace(settings, correlation=recorded.get("correlation", settings.correlation))
    sha256 = state_hash(policy)
    fresh = build_groups(
        policy, body, sha256, facts.trained_on, StoreSource(store), folder / "groups", settings, [name]
    )  # fmt: skip
    return load_groups(fresh, name, policy, sha256, truth=_needs_truth(config))
