"""A judge scores the groups of a store, with a frozen memory or without one.

    groups of a shard -> what is shown of the memory -> calls -> verdicts -> lines and scores of the shard

A shard is written when all its groups have a verdict or a reason for none; answers are in the journal before that, so
that a run which was stopped asks nothing twice. Where nobody is asked, a shard waits until all its answers are there.
Groups whose person is in the memory are refused.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from hmralign.body.model import BodyModel
from hmralign.critics.vlm.memory.retrieval import Retrieved
from hmralign.critics.vlm.memory.store import Memory
from hmralign.engines.share import WHOLE, Share
from hmralign.preferences.store import CriticFacts, GroupStore, ScoreWriter, scores_beside, writing
from hmralign.storage.folder_lock import held_folder
from hmralign.structures import InputError
from hmralign.systems.group_preference.embedding import require_pictures, resolved
from hmralign.systems.group_preference.judging import NOTHING, judge_groups, make_embedder, shown_of
from hmralign.systems.group_preference.pictures import StoredGroup, read_groups
from hmralign.systems.group_preference.settings import ScoreConfig, check_plan
from hmralign.systems.group_preference.verdict_files import (
    read_shard_verdicts,
    read_verdicts,
    scores_of,
    write_verdicts,
)
from hmralign.systems.group_preference.verdicts import GroupVerdict
from hmralign.vlm.asker import Asker

logger = logging.getLogger("hmralign.critic")

NAME = "vlm"
"""Name of the scores, where none is given."""
IN_MEMORY = "its person is in the memory"


@dataclass(frozen=True)
class ScoreReport:
    """What a store holds now under a name."""

    name: str
    groups: int
    judged: int
    uninformative: int
    unjudged: tuple[tuple[str, str], ...] = field(default_factory=tuple)
    """Ids and reasons."""
    calls: int = 0
    """Made by this run."""
    waiting: int = 0
    """Groups of this run whose answers are not all in the journal, where nobody was asked: their shards stay as they
    were."""


def score_facts(name: str, model: str, config: ScoreConfig, memory: Memory | None) -> CriticFacts:
    """What scores by that judge depend on."""
    settings: dict[str, Any] = {"critic": "vlm", "model": model, **config.judge.record}
    settings["known_images"] = config.known_images
    if memory is not None:
        settings["retrieval"] = asdict(config.retrieval)
        settings["embedding"] = resolved(config.judge.embedding, memory).record
    return CriticFacts(name, False, settings, None if memory is None else memory.content_hash())


@dataclass(frozen=True)
class Scoring:
    """What a judge has to be asked about: the same for live calls and for batches."""

    shards: list[int]
    known: set[str]
    """Ids of groups that are left out, because their person is in the memory."""
    shown: Callable[[StoredGroup], Retrieved]
    """What the memory shows for each group."""

    def groups(self, store: GroupStore, shard: int) -> list[StoredGroup]:
        """Those of a shard that are asked about."""
        return [group for group in read_groups(store, shard) if group.id not in self.known]


def scoring(
    store: GroupStore,
    name: str,
    config: ScoreConfig,
    memory: Memory | None = None,
    *,
    retry: bool = False,
    device: str | torch.device = "cpu",
    share: Share = WHOLE,
) -> Scoring:
    """Shards of a share that have no scores of that name; with `retry` also those with unjudged groups.

    Raises InputError for a memory that is not frozen, for groups whose person is in it or that have no picture where
    the memory compares pictures, and for a plan that does not fit the groups.
    """
    if memory is not None and not memory.frozen:
        raise InputError(f"the memory {memory.path} is not frozen, so scores could not say with what they were made; "
                         "freeze it first")  # fmt: skip
    check_plan(config.judge, store.facts.group_size)
    mine = share.numbers(store.num_shards)
    shards = [shard for shard in _shards_to_do(store, name, retry) if shard in mine]
    known = _known_groups(store, shards, memory, config)
    embedder = None if memory is None else make_embedder(config.judge, memory, device)
    require_pictures(store, embedder)

    def shown(group: StoredGroup) -> Retrieved:
        return NOTHING if memory is None else shown_of(memory, group, embedder, config.retrieval, config.judge.seed)

    return Scoring(shards, known, shown)


def score_groups(
    folder: str | Path,
    asker: Asker,
    body: BodyModel,
    config: ScoreConfig | None = None,
    memory: Memory | None = None,
    *,
    name: str = NAME,
    retry: bool = False,
    device: str | torch.device = "cpu",
    share: Share | None = None,
) -> ScoreReport:
    """Score every shard that is not scored; with `retry` also those with unjudged groups. CLIP runs on `device`.

    With a `share` only its shards are scored, beside other processes that score others; the same share twice at once
    is refused.

    Raises InputError for a memory that is not frozen, for groups whose person is in it, for a plan that does not fit
    the groups, and for scores of the same name by another judge; before any call. Then as `ask_all`: shards that are
    complete stay, answers are in the journal. With `Limits.journal_only` a shard of which an answer is still to come is
    not written.
    """
    config = config or ScoreConfig()
    with writing(folder) if share is None else _beside(Path(folder), name, share) as store:
        task = scoring(store, name, config, memory, retry=retry, device=device, share=share or WHOLE)
        facts = score_facts(name, asker.backend.model, config, memory)
        if name in store.critics():  # else with its first shard: a run that gets no answer leaves no empty scores
            store.declare_critic(name, facts)
        if retry:
            asker = replace(asker, limits=replace(asker.limits, retry_failed=True))
        calls, waiting = asyncio.run(_score(store, task, asker, body, config, memory, facts))
    return score_report(GroupStore.open(folder), name, calls, waiting)


@contextmanager
def _beside(folder: Path, name: str, share: Share) -> Iterator[ScoreWriter]:
    """The store, to score a share of it; raises InputError where another process is at the same share."""
    store = scores_beside(folder)
    with held_folder(folder, f"at share {share} of '{name}'", lock=f".{name}.{share.number}-of-{share.count}.lock"):
        yield store


def score_report(store: GroupStore, name: str, calls: int = 0, waiting: int = 0) -> ScoreReport:
    """Counts of what is there."""
    lines = read_verdicts(store, name)
    count = Counter(line["status"] for line in lines)
    unjudged = tuple((line["id"], line["reason"]) for line in lines if line["status"] == "unjudged")
    return ScoreReport(name, len(lines), count["judged"], count["uninformative"], unjudged, calls, waiting)


def _shards_to_do(store: GroupStore, name: str, retry: bool) -> list[int]:
    todo = set(store.unscored(name))
    for shard in range(store.num_shards) if retry else ():
        if shard not in todo and any(v["status"] == "unjudged" for v in read_shard_verdicts(store, name, shard)):
            todo.add(shard)
    return sorted(todo)


def _known_groups(store: GroupStore, shards: Iterable[int], memory: Memory | None, config: ScoreConfig) -> set[str]:
    """Ids of groups whose person is in the memory, where these are to be left out. Raises InputError otherwise."""
    known: set[str] = set()
    if memory is None:
        return known
    for shard in shards:
        for group in read_groups(store, shard):
            try:
                memory.refuse_known(group.images)
            except InputError as error:
                if config.known_images == "refuse":
                    raise InputError(
                        f"group '{group.id}': {error}; leave such groups out, or score another store"
                    ) from error
                known.add(group.id)
    return known


async def _score(
    store: ScoreWriter,
    task: Scoring,
    asker: Asker,
    body: BodyModel,
    config: ScoreConfig,
    memory: Memory | None,
    facts: CriticFacts,
) -> tuple[int, int]:
    """Calls made, and groups that wait for answers."""
    calls = waiting = 0
    made_by, name = _made_by(asker.backend.model, config, memory), facts.name
    try:
        for shard in task.shards:
            asked = task.groups(store, shard)
            said = {v.id: v for v in await judge_groups(asker, asked, task.shown, body, config.judge)}
            if unasked := sum(v.unasked > 0 for v in said.values()):
                waiting += unasked
                logger.info("%s: shard %d waits for the answers to %d groups", name, shard + 1, unasked)
                continue
            store.declare_critic(name, facts)
            ids = store.shard_ids(shard)
            verdicts = [said.get(id_, GroupVerdict(id_, reason=IN_MEMORY)) for id_ in ids]
            write_verdicts(store, name, shard, verdicts, made_by)
            store.write_scores(name, shard, scores_of(verdicts, store.facts.group_size))
            calls += sum(v.calls for v in verdicts)
            logger.info("%s: shard %d of %d, %d calls", name, shard + 1, store.num_shards, calls)
    finally:
        await asker.close()
    return calls, waiting


def _made_by(model: str, config: ScoreConfig, memory: Memory | None) -> dict[str, Any]:
    return {
        "model": model, "prompt": config.judge.options.record, "style_sha256": config.judge.style.sha256,
        "memory_sha256": None if memory is None else memory.content_hash(),
    }  # fmt: skip
