"""The stores of groups that the study trains on: made once for each base, scored by the critics that its rows follow.

| store | persons | hypotheses |
| --- | --- | --- |
| `wild` | the first of the training split, of every base | G |
| `labels` | drawn by a seed from what the base was trained on, with their labels | 2, of no importance |
| `wide` | fewer of the training split | as many as the largest group of the sweep |
| `many` | as many as the sweep over persons goes to | G |
| `size_8`, `persons_500` ... | cut from `wide` and from `many`: the same hypotheses with the same scores | |
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Iterator, Sequence, Set
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from hmralign.body.model import BodyModel
from hmralign.critics.names import CriticChoice
from hmralign.policies.lite import LitePolicy
from hmralign.preferences.build import GroupStoreConfig, build_groups, critic_facts
from hmralign.preferences.person_source import GroupSource, ShardSource, SourceBatch
from hmralign.preferences.store import CriticFacts, GroupStore, StoreFacts, writing
from hmralign.storage.seeds import DERIVATION
from hmralign.structures import Example, InputError, PreferenceGroups
from hmralign.structures.counted import counted

logger = logging.getLogger("hmralign.alignment_study")


@dataclass(frozen=True)
class DrawnSource:
    """Persons drawn by a seed, without replacement, from several sources with truth."""

    sources: tuple[ShardSource, ...]
    persons: int
    seed: int = 0

    has_truth = True

    def __post_init__(self) -> None:
        """Raise InputError for more persons than there are."""
        if not 1 <= self.persons <= self._there:
            raise InputError(f"{self.name}: {self.persons} persons were asked for, there are {self._there}")

    @property
    def name(self) -> str:
        """Names of all sources."""
        return "+".join(s.name for s in self.sources)

    @property
    def sha256(self) -> str:
        """Hash of the sources and of who is drawn."""
        text = "\n".join([*(f"{s.name} {s.sha256} {s.persons}" for s in self.sources), f"{self.persons} {self.seed}"])
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def _there(self) -> int:
        return sum(s.persons for s in self.sources)

    def drawn(self) -> list[tuple[int, int]]:
        """(source, number) of each person."""
        order = torch.randperm(self._there, generator=torch.Generator().manual_seed(self.seed))[: self.persons]
        places = [(k, i) for k, s in enumerate(self.sources) for i in range(s.persons)]
        return [places[i] for i in order.tolist()]

    def batches(self, size: int, done: Set[str]) -> Iterator[SourceBatch]:
        """Blocks of `size`; ids are those of the persons in their own sources."""
        places = self.drawn()
        for start in range(0, len(places), size):
            block = places[start : start + size]
            ids = tuple(f"{self.sources[k].name}/{i:06d}" for k, i in block)
            if ids[0] not in done:
                yield SourceBatch(ids, Example.cat([self.sources[k].shards[torch.tensor([i])] for k, i in block]))


@dataclass(frozen=True)
class BaseWeights:
    """A base that is aligned."""

    number: int
    checkpoint: str
    sha256: str
    trained_on: tuple[str, ...]


def build_store(
    folder: Path,
    base: BaseWeights,
    body: BodyModel,
    source: GroupSource,
    config: GroupStoreConfig,
    critics: Sequence[CriticChoice],
    given: Path | None = None,
) -> GroupStore:
    """Groups of a base, scored; a store with the same groups that is there already (`given`) is copied.

    Scores by a critic that has changed since are thrown away and made again.
    """
    if given is not None and not folder.is_dir():
        _adopt(given, folder, base, body, source, config)
    _drop_outdated_scores(folder, body, config, critics)
    policy = LitePolicy.load(base.checkpoint, body, num_steps=config.num_steps, detector=config.detector)
    return build_groups(policy, body, base.sha256, base.trained_on, source, folder, config, critics)


def is_complete(folder: Path, body: BodyModel, config: GroupStoreConfig, persons: int, critics: Sequence[str]) -> bool:
    """Whether a store has all its groups and the scores of the critics as they are now."""
    if not (folder / "store.json").is_file():
        return False
    store = GroupStore.open(folder)
    return len(store) == persons and all(
        not store.unscored(c) and _is_current(store, c, body, config) for c in critics
    )  # fmt: skip


def _is_current(store: GroupStore, critic: str, body: BodyModel, config: GroupStoreConfig) -> bool:
    if critic not in store.critics():
        return False
    return store.critic_facts(critic).get("sha256") == critic_facts(critic, body, config).sha256  # pyright: ignore


def _drop_outdated_scores(folder: Path, body: BodyModel, config: GroupStoreConfig, critics: Sequence[str]) -> None:
    if not (folder / "store.json").is_file():
        return
    store = GroupStore.open(folder)
    for critic in critics:
        if critic in store.critics() and not _is_current(store, critic, body, config):
            logger.info("%s: scores by an earlier '%s' are thrown away", folder.name, critic)
            shutil.rmtree(folder / "scores" / critic)


def _adopt(
    given: Path, folder: Path, base: BaseWeights, body: BodyModel, source: GroupSource, config: GroupStoreConfig
) -> None:
    """Copy a store where its groups are the ones that would be built; leave it alone where they are others."""
    if not (given / "store.json").is_file():
        return
    store = GroupStore.open(given)
    wanted = StoreFacts(
        base.sha256, base.trained_on, body.skeleton_hash, body.mesh_hash, source.name, source.sha256,
        config.group_size, config.num_steps, config.detector, config.seed, config.with_truth, config.shard_size,
        seed_derivation=DERIVATION,
    )  # fmt: skip
    ids = tuple(i for batch in source.batches(config.shard_size, set()) for i in batch.ids)
    if asdict(store.facts) != asdict(wanted) or store.ids != ids:
        logger.info("%s: holds other groups than are needed; they are sampled", given.name)
        return
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(given, part, ignore=shutil.ignore_patterns(".lock"))
    part.replace(folder)
    logger.info("%s: the groups of %s", folder.name, given.name)


def cut_store(store: GroupStore, folder: Path, persons: int, group_size: int, critics: Sequence[str]) -> GroupStore:
    """The first persons and hypotheses of a store, with their scores; truth is left out.

    Scores of a critic do not depend on who else is in the group, so they are those of the whole store. Raises
    InputError for more persons or hypotheses than there are.
    """
    if persons > len(store) or group_size > store.facts.group_size:
        raise InputError(f"{store.folder}: has {counted(len(store), 'group')} of {store.facts.group_size}, not so many")
    cut = {"cut_from": store.content_hash(), "persons": persons}
    facts = replace(store.facts, group_size=group_size, with_truth=False, options={**store.facts.options, **cut})
    scores = {c: store.scores(c)[:persons, :group_size] for c in critics}
    with writing(folder, facts) as writer:
        first = 0
        for shard in range(store.num_shards):
            ids = store.shard_ids(shard)[: persons - first]
            if ids and ids[0] not in writer.done():
                writer.append(_first_of(store.read(shard), ids, group_size))
            first += len(ids)
        for critic in critics:
            recorded = store.critic_facts(critic)
            named = CriticFacts(
                recorded["name"], recorded["needs_truth"], recorded["settings"], recorded["memory_sha256"]
            )
            writer.declare_critic(critic, named)
            for shard in writer.unscored(critic):
                start = sum(len(writer.shard_ids(s)) for s in range(shard))
                writer.write_scores(critic, shard, scores[critic][start : start + len(writer.shard_ids(shard))])
    return GroupStore.open(folder)


def _first_of(groups: PreferenceGroups, ids: tuple[str, ...], group_size: int) -> PreferenceGroups:
    n = len(ids)
    x_0 = None if groups.x_0 is None else groups.x_0[:n, :group_size]
    example = Example(groups.example.observation[:n])
    return PreferenceGroups(ids, x_0, groups.hypotheses[:n, :group_size], example)
