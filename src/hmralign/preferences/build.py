"""Groups of hypotheses for every person of a source, sampled from a frozen policy, stored, and scored by critics.

    source -> policy.context -> policy.sample -> policy.to_body -> store -> critics -> scores

What is drawn for a group depends on (seed, id of the group) alone, whatever shard it is in and whoever else is there: a
run that was killed and continued gives what the straight run gives, and another cut into shards gives the same groups.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from hmralign.body.model import BodyModel
from hmralign.critics.catalogue import make_critic, weights_of
from hmralign.critics.critic import Critic, judge
from hmralign.critics.mix import LAB_WEIGHTS
from hmralign.critics.names import CriticChoice, is_descriptions_file, score_name
from hmralign.models.checkpoint import checkpoint_hash
from hmralign.policies.policy import DiffusionPolicy, bodies_in, sample_each
from hmralign.preferences.parts import PartsOfStore, require_own_parts
from hmralign.preferences.person_source import GroupSource, SourceBatch, as_stored
from hmralign.preferences.store import CriticFacts, GroupStore, GroupWriter, StoreFacts, writing
from hmralign.storage.seeds import DERIVATION, seeded
from hmralign.structures import Example, InputError, PreferenceGroups
from hmralign.structures.counted import counted
from hmralign.structures.extensions import extension_code

logger = logging.getLogger("hmralign.groups")

CriticOf = Callable[[tuple[str, ...]], Critic]
"""A critic for the groups of these ids: critics that draw start anew for each, so that their order does not matter."""


@dataclass(frozen=True)
class GroupStoreConfig:
    """How groups are made."""

    group_size: int = 16
    """Hypotheses per person (G)."""
    num_steps: int = 5
    """Sampler steps."""
    detector: str = "mediapipe"
    """Whose measured noise places bodies and weighs keypoints."""
    shard_size: int = 64
    """Persons per shard: what is lost at most when a run is killed. Photos are shards of their own."""
    with_truth: bool = False
    """Keep annotations beside the groups, for critics and controls that need them."""
    correlation: float = 0.5
    """Rank correlation of the critic `oracle-noisy` with the truth."""
    seed: int = 0
    """Seed of samples and of critics that draw."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further settings, for the record."""

    def __post_init__(self) -> None:
        """Raise InputError for groups that say nothing."""
        if self.group_size < 2:
            raise InputError(f"group size is {self.group_size}; a preference needs at least 2 hypotheses")
        if self.shard_size < 1 or self.num_steps < 1:
            raise InputError("shard size and sampler steps must be at least 1")


def build_groups(
    policy: DiffusionPolicy,
    body: BodyModel,
    checkpoint_sha256: str,
    trained_on: tuple[str, ...],
    source: GroupSource,
    folder: Path,
    config: GroupStoreConfig,
    critics: Sequence[CriticChoice] = (),
    *,
    only_collect: bool = False,
) -> GroupStore:
    """Sample and score; continues a store of the same facts, and does nothing where all is done.

    What workers have made apart (`preferences.workers`) is taken over, and made here where it is missing; with
    `only_collect` that is refused, and nothing is sampled. Raises InputError for it, for a store of other facts, truth
    from a source that has none, a critic that needs truth where none is kept, a policy that takes another number of
    steps than is recorded, and as the critics do.
    """
    facts = store_facts(policy, body, checkpoint_sha256, trained_on, source, config)
    judges = checked_critics(critics, body, config)
    require_own_parts(folder, facts, source)
    with writing(folder, facts) as store:
        made = PartsOfStore(store, source, config.shard_size)
        for number in made.in_order(only=only_collect):
            add_batches(store, policy, made.source.unit(number, config.shard_size), config)
        if not only_collect:
            add_batches(store, policy, source.batches(config.shard_size, store.done()), config)
        score_by_all(store, judges, body, config)
        made.remove()
    return GroupStore.open(folder)  # the writer may not outlive the lock


def add_batches(
    store: GroupWriter, policy: DiffusionPolicy, batches: Iterable[SourceBatch], config: GroupStoreConfig
) -> None:
    """Sample persons into a store; one that gives no group is remembered with the reason."""
    for batch in batches:
        if batch.example is None:
            store.skip(batch.ids[0], batch.skipped or "no reason was given")
            logger.warning("%s gives no group: %s", batch.ids[0], batch.skipped)
            continue
        store.append(sample_batch(policy, batch, config))
        logger.info("%d groups", len(store))


def store_facts(
    policy: DiffusionPolicy,
    body: BodyModel,
    checkpoint_sha256: str,
    trained_on: tuple[str, ...],
    source: GroupSource,
    config: GroupStoreConfig,
) -> StoreFacts:
    """What all groups share. Raises InputError for settings that do not fit the source or the policy."""
    if config.with_truth and not source.has_truth:
        raise InputError(f"source '{source.name}' has no truth to keep")
    steps = getattr(policy, "num_steps", config.num_steps)
    if steps != config.num_steps:
        raise InputError(
            f"the policy samples in {counted(steps, 'step')}, the groups are to be recorded with {config.num_steps}"
        )
    return StoreFacts(
        checkpoint_sha256=checkpoint_sha256,
        trained_on=trained_on,
        skeleton_hash=body.skeleton_hash,
        mesh_hash=body.mesh_hash,
        source=source.name,
        source_sha256=source.sha256,
        group_size=config.group_size,
        sampler_steps=config.num_steps,
        detector=config.detector,
        seed=config.seed,
        with_truth=config.with_truth,
        shard_size=config.shard_size,
        options=config.options,
        seed_derivation=DERIVATION,
    )


def sample_batch(policy: DiffusionPolicy, batch: SourceBatch, config: GroupStoreConfig) -> PreferenceGroups:
    """Groups of some persons, who are seen with their masks as the store keeps them.

    They are sampled on the device of the policy's body and are on the CPU.
    """
    example = batch.example
    assert example is not None
    observation = as_stored(example.observation)
    generators = [seeded(config.seed, "groups", group) for group in batch.ids]
    seen = observation.to(policy.body.device)
    with torch.no_grad():
        context = policy.context(seen)
        x_0 = sample_each(policy, context, config.group_size, generators)
        hypotheses = bodies_in(policy, x_0, seen, context).to("cpu")
    annotation = example.annotation if config.with_truth else None
    kept = Example(observation, annotation, example.landmarks3d)
    return PreferenceGroups(batch.ids, x_0.cpu(), hypotheses, kept, batch.crops, batch.crop_windows)


def named_critic(name: CriticChoice, body: BodyModel, config: GroupStoreConfig) -> CriticOf:
    """Critics by name. A learned one is the same for everybody, and its file is not opened again for every shard."""
    if (learned := _learned(name, body, config)) is not None:
        return lambda ids: learned

    def critic_of(ids: tuple[str, ...]) -> Critic:
        return make_critic(name, body, config.detector, config.seed, config.correlation, persons=ids)

    return critic_of


def _made(name: CriticChoice, body: BodyModel, config: GroupStoreConfig) -> Critic:
    """A critic that will judge anybody."""
    learned = _learned(name, body, config)
    return make_critic(name, body, config.detector) if learned is None else learned


def _learned(name: CriticChoice, body: BodyModel, config: GroupStoreConfig) -> Critic | None:
    """The critic of a file of weights; None for a name that stands for no such file."""
    weights = weights_of(name)
    if weights is None or not weights.is_file() or is_descriptions_file(name):
        return None
    return _opened(name, checkpoint_hash(weights), body, config.detector)


@lru_cache(maxsize=2)
def _opened(name: CriticChoice, sha256: str, body: BodyModel, detector: str) -> Critic:
    """Held by the content of its file: one that is written anew is another critic."""
    return make_critic(name, body, detector)


def critic_facts(name: CriticChoice, body: BodyModel, config: GroupStoreConfig) -> CriticFacts:
    """What scores by that critic depend on."""
    settings: dict[str, Any] = {"critic": score_name(name), "detector": config.detector, "mesh_hash": body.mesh_hash}
    if name in ("random", "oracle-noisy", "oracle-language"):
        settings |= {"seed": config.seed, "draws": "by group"}
    if name == "mix":
        settings["weights"] = dict(LAB_WEIGHTS)
    if (weights := weights_of(name)) is not None:
        settings["scorer_sha256"] = checkpoint_hash(weights)
    if name == "oracle-noisy":
        settings["correlation"] = config.correlation
    if (code := extension_code(name)) is not None:
        settings |= {"code_sha256": code, "seed": config.seed}
    return CriticFacts(score_name(name), _made(name, body, config).needs_truth, settings)


def checked_critics(
    critics: Sequence[CriticChoice], body: BodyModel, config: GroupStoreConfig
) -> dict[CriticChoice, CriticFacts]:
    """Facts of each critic, before anything is made. Raises InputError for one that needs truth where none is kept."""
    judges: dict[CriticChoice, CriticFacts] = {name: critic_facts(name, body, config) for name in critics}
    for name, facts in judges.items():
        require_truth(name, facts, config.with_truth)
    return judges


def score_by_all(
    store: GroupWriter, judges: dict[CriticChoice, CriticFacts], body: BodyModel, config: GroupStoreConfig
) -> None:
    """`score_store` by each critic."""
    for name, facts in judges.items():
        score_store(store, facts.name, named_critic(name, body, config), facts, body.device)


def score_store(
    store: GroupWriter, name: str, critic_of: CriticOf, facts: CriticFacts, device: str | torch.device = "cpu"
) -> None:
    """Let a critic, who is on that device, judge every shard it has not judged; groups are not sampled again.

    Raises InputError naming the critic and the groups where it raises, gives scores that are not finite or are of
    another shape, or needs truth that is not kept: what was scored before stays.
    """
    require_truth(name, facts, store.facts.with_truth)
    store.declare_critic(name, facts)
    for shard in store.unscored(name):
        groups = store.read(shard, truth=facts.needs_truth)
        critic = critic_of(groups.ids)
        try:
            scores = judge(critic, groups.hypotheses.to(device), groups.example.to(device)).cpu()
        except InputError as error:
            ids = groups.ids
            raise InputError(f"critic '{name}' failed on groups '{ids[0]}' to '{ids[-1]}': {error}") from error
        store.write_scores(name, shard, scores)
        logger.info("%s: %d of %d shards", name, shard + 1, store.num_shards)


def require_truth(name: str, facts: CriticFacts, with_truth: bool) -> None:
    """Raises InputError for a critic that needs truth where none is kept."""
    if facts.needs_truth and not with_truth:
        raise InputError(
            f"critic '{name}' needs truth, and the store keeps none; build it with truth where there is some"
        )
