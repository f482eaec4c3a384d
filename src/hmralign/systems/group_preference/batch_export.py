"""The requests that scoring a store would send, written to files instead.

They are put together as `score_groups` puts them together, with the same keys, and those that the journal has an answer
to are left out. An answer that cannot be used counts as an attempt, as in live asking, so that the next export holds
the question's second attempt, with another seed and a word on what was wrong.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from hmralign.body.model import BodyModel
from hmralign.critics.vlm.memory.store import Memory
from hmralign.engines.share import WHOLE, Share
from hmralign.preferences.store import GroupStore
from hmralign.structures import InputError
from hmralign.systems.group_preference.asked_groups import AskedGroup, asked_groups
from hmralign.systems.group_preference.batch_folder import (
    BatchEntry,
    BatchFile,
    BatchLimits,
    BatchWriter,
    Images,
    Manifest,
    exporting,
)
from hmralign.systems.group_preference.score import NAME, Scoring, score_facts, scoring
from hmralign.systems.group_preference.settings import ScoreConfig
from hmralign.vlm.asking import Answered, Failed, Limits, standing
from hmralign.vlm.batch_lines import custom_id
from hmralign.vlm.chat import LimitField, request_key
from hmralign.vlm.journal import Journal

logger = logging.getLogger("hmralign.critic")


@dataclass(frozen=True)
class BatchForm:
    """How requests are written."""

    images: Images = "inline"
    """Pictures inside the requests, in files on the machine that judges, or at addresses."""
    address: str = ""
    """Files and addresses: what stands before `ab/abcd....jpg`, with its `/`."""
    send_schema: bool = True
    """Whether a request says the form of the answer; answers are checked all the same."""
    limits: BatchLimits = field(default_factory=BatchLimits)
    """Limits of one file."""
    limit_field: LimitField = "max_tokens"
    """Name under which a request says the longest answer."""

    def __post_init__(self) -> None:
        """Raise InputError for an address that is missing, too much, or of another kind."""
        expected = {"inline": (), "files": ("file://",), "urls": ("https://", "http://")}[self.images]
        if bool(self.address) != bool(expected) or not self.address.startswith(expected or ""):
            raise InputError(
                f"pictures as '{self.images}' with the address '{self.address}'; expected "
                + (f"one that begins with {' or '.join(expected)}" if expected else "none")
            )
        if self.address and not self.address.endswith("/"):
            raise InputError(f"the address '{self.address}' of pictures does not end with /")


@dataclass(frozen=True)
class ExportReport:
    """What was written, and what was not."""

    files: tuple[BatchFile, ...]
    """Written now."""
    requests: int
    """Written now."""
    waiting: int
    """In the folder before, still without an answer."""
    answered: int
    """In the journal."""
    given_up: int
    """Questions whose attempts are used up."""
    undrawn: tuple[tuple[str, str], ...]
    """Groups that cannot be drawn, and why."""
    left_out: int
    """Groups whose person is in the memory."""


def store_identity(store: GroupStore) -> str:
    """Hash that stays when a store grows. Raises InputError for a store without groups."""
    if len(store) == 0:
        raise InputError(f"{store.folder}: holds no groups")
    text = json.dumps([asdict(store.facts), store.entries[0].shard_sha256], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def export_batch(
    folder: str | Path,
    out: str | Path,
    journal: Journal,
    model: str,
    body: BodyModel,
    config: ScoreConfig | None = None,
    memory: Memory | None = None,
    *,
    name: str = NAME,
    retry: bool = False,
    limits: Limits | None = None,
    form: BatchForm | None = None,
    device: str | torch.device = "cpu",
    share: Share = WHOLE,
) -> ExportReport:
    """Write the requests about the groups of a store that have no scores of that name into `out`.

    With a `share` those of its shards alone. `limits`, `retry` and `device` as for live asking. A run that was stopped
    is continued by the same call; a further one adds what `out` does not hold. Raises InputError as `scoring` and
    `exporting`, and for scores by another judge.
    """
    config, form = config or ScoreConfig(), form or BatchForm()
    limits = replace(limits or Limits(), retry_failed=retry)
    store = GroupStore.open(folder)
    task = scoring(store, name, config, memory, retry=retry, device=device, share=share)
    manifest = _manifest(store, name, model, config, memory, limits, form)
    with exporting(out, manifest, form.limits) as writer:
        return _export(store, task, writer, journal, body, config, limits)


def _manifest(
    store: GroupStore,
    name: str,
    model: str,
    config: ScoreConfig,
    memory: Memory | None,
    limits: Limits,
    form: BatchForm,
) -> Manifest:
    facts = score_facts(name, model, config, memory)
    if name in store.critics() and store.critic_facts(name).get("sha256") != facts.sha256:
        raise InputError(f"{store.folder}: holds scores named '{name}' by a critic with other settings; name others")
    return Manifest(
        store_identity(store), model, facts.settings, facts.memory_sha256, form.images, form.address, form.send_schema,
        limits.check_pictures, form.limit_field,
    )  # fmt: skip


def _export(
    store: GroupStore,
    task: Scoring,
    writer: BatchWriter,
    journal: Journal,
    body: BodyModel,
    config: ScoreConfig,
    limits: Limits,
) -> ExportReport:
    requests = waiting = answered = given_up = groups = 0
    undrawn: list[tuple[str, str]] = []
    manifest = writer.manifest
    for shard in task.shards:
        shard_groups = task.groups(store, shard)
        groups += len(shard_groups)
        with closing(asked_groups(shard_groups, task.shown, body, config.judge)) as stream:
            for asked in stream:
                if asked.undrawn:
                    undrawn.append((asked.group.id, asked.undrawn))
                for found in _pending(asked, journal, manifest.model, limits, manifest.limit_field):
                    answered += isinstance(found, Answered)
                    given_up += isinstance(found, Failed)
                    if isinstance(found, tuple):
                        new = writer.add(*found)
                        requests, waiting = requests + new, waiting + (not new)
        logger.info("shard %d of %d: %d requests so far", shard + 1, store.num_shards, requests)
    writer.finish()
    left_out = sum(len(store.shard_ids(shard)) for shard in task.shards) - groups
    return ExportReport(
        tuple(writer.written), requests, waiting, answered, given_up, tuple(undrawn), left_out
    )  # fmt: skip


def _pending(
    asked: AskedGroup, journal: Journal, model: str, limits: Limits, limit_field: LimitField
) -> Iterator[object]:
    """For each question its answer, its failure, or its entry with the request to write."""
    for call, question in zip(asked.calls, asked.questions, strict=True):
        found = standing(journal, model, question, limits)
        if isinstance(found, Answered | Failed):
            yield found
            continue
        name, request = custom_id(found.key, found.attempt), replace(found.request, limit_field=limit_field)
        yield (
            BatchEntry(name, found.key, request_key(model, request), asked.group.id, call.hypotheses, call.labels),
            request,
        )
