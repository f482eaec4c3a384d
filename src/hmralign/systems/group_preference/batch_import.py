"""Answers of a batch, checked as live answers are and written into the journal.

Each is read for the request it answers, which is taken from the folder it was exported to and has to have the hash that
the index says. What cannot be used is kept as an attempt, with its cost; nothing is filled in. Lines that were imported
before change nothing, in whatever order and however often they come.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hmralign.critics.vlm.plan import Call
from hmralign.preferences.store import GroupStore
from hmralign.structures import InputError
from hmralign.systems.group_preference.batch_export import store_identity
from hmralign.systems.group_preference.batch_folder import BatchEntry, BatchFolder
from hmralign.systems.group_preference.questions import call_reader
from hmralign.vlm.asking import Question, commit_reply, metered, worst_usage
from hmralign.vlm.batch_lines import BatchAnswer, CorruptLine, read_answers
from hmralign.vlm.chat import ChatReply, ChatRequest, request_key
from hmralign.vlm.errors import AnswerError
from hmralign.vlm.journal import Attempt, Journal
from hmralign.vlm.prices import Price, PriceTable

_DATED = r"[-@:_]\d{4}[\w.-]*"
"""What hosted services put behind the name of a model: a version of at least four digits."""


@dataclass(frozen=True)
class ImportReport:
    """What came of the lines, and what the folder still waits for."""

    answered: int = 0
    """Answers that can be used, new in the journal."""
    failed: dict[str, int] = field(default_factory=dict)
    """New in the journal, by reason: no answer, or one that cannot be used."""
    known: int = 0
    """Lines that the journal had already, or whose question it has an answer to."""
    unknown: tuple[str, ...] = ()
    """Names of requests that the folder does not hold."""
    corrupt: tuple[str, ...] = ()
    """File, line and what is wrong with it."""
    missing: int = 0
    """Requests of the folder of which no line has come yet."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    """Cost of the new answers, by the price table; 0 without a price."""


def import_answers(
    folder: str | Path,
    batch: str | Path,
    answers: Sequence[str | Path],
    journal: Journal,
    prices: PriceTable | None = None,
    *,
    answered_by: Sequence[str] = (),
) -> ImportReport:
    """Read answer files to the requests of `batch` about the groups of a store.

    Raises InputError, before anything is written, for a batch of another store, for a file that cannot be read, and for
    answers of another model than was asked; `answered_by` are further names under which that model answers. Later for
    requests that were changed since they were exported; what was imported until then stays.
    """
    requests, store = BatchFolder.open(batch), GroupStore.open(folder)
    if requests.manifest.store != store_identity(store):
        raise InputError(f"{batch}: its requests are about another store than {folder}")
    files = [Path(path) for path in answers]
    _require_model(files, requests.manifest.model, answered_by)
    taking = _Import(requests, journal, (prices or PriceTable()).of(requests.manifest.model))
    for line in _lines(files):
        taking.take(line)
    return taking.report()


def is_model(asked: str, answering: str) -> bool:
    """Whether a name stands for the model that was asked: the same, a dated version of it, or without its folder.

    >>> is_model("qwen/Qwen3-VL-32B", "qwen3-vl-32b"), is_model("gpt-4", "gpt-4-0613"), is_model("gpt-4", "gpt-4.1")
    (True, True, False)
    """
    a, b = (name.lower().rstrip("/").rsplit("/", 1)[-1] for name in (asked, answering))
    return re.fullmatch(re.escape(a) + f"({_DATED})?", b) is not None


def _lines(files: Sequence[Path]) -> Iterator[BatchAnswer | CorruptLine]:
    for path in files:
        yield from read_answers(path)


def _require_model(files: Sequence[Path], model: str, further: Sequence[str]) -> None:
    for line in _lines(files):
        if isinstance(line, CorruptLine) or line.reply is None or not line.reply.model:
            continue
        if not any(is_model(name, line.reply.model) for name in (model, *further)):
            raise InputError(
                f"{line.where}: is by the model '{line.reply.model}', and '{model}' was asked; if these are the same, "
                "say under which name it answers (--answered-by)"
            )


class _Import:
    def __init__(self, batch: BatchFolder, journal: Journal, price: Price | None) -> None:
        self.batch, self.journal, self.price = batch, journal, price
        self.model, self.check = batch.manifest.model, batch.manifest.check_pictures
        self.pairs = batch.manifest.settings["plan"]["design"] == "pairs"
        self.entries = {entry.custom_id: entry for entry in batch.entries()}
        self.came: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.unknown: list[str] = []
        self.corrupt: list[str] = []
        self.cost = 0.0

    def take(self, line: BatchAnswer | CorruptLine) -> None:
        """One line."""
        if isinstance(line, CorruptLine):
            self.corrupt.append(f"{line.where}: {line.reason}")
        elif (entry := self.entries.get(line.custom_id)) is None:
            self.unknown.append(line.custom_id)
        else:
            self.came.add(line.custom_id)
            if self._is_known(entry, line):
                self.counts["known"] += 1
            elif line.reply is not None:
                self._take_reply(entry, line.reply, line.created)
            else:
                self._take_error(entry, line)

    def report(self) -> ImportReport:
        """After all lines."""
        missing = sum(
            not self._attempts(entry) for entry in self.entries.values() if entry.custom_id not in self.came
        )  # fmt: skip
        return ImportReport(
            self.counts["answered"], dict(self.failed), self.counts["known"], tuple(self.unknown), tuple(self.corrupt),
            missing, self.counts["prompt_tokens"], self.counts["completion_tokens"], self.cost,
        )  # fmt: skip

    def _attempts(self, entry: BatchEntry) -> list[Attempt]:
        return [a for a in self.journal.attempts(entry.key) if a.request_hash == entry.request_hash]

    def _is_known(self, entry: BatchEntry, line: BatchAnswer) -> bool:
        """Whether the journal has this line, or a good answer to the same request."""
        body = line.reply.raw if line.reply is not None else line.error.raw if line.error is not None else ""
        return any(a.status == "ok" or a.body == body for a in self._attempts(entry))

    def _take_reply(self, entry: BatchEntry, reply: ChatReply, created: float | None) -> None:
        request = self._request(entry)
        usage = metered(reply, worst_usage(request))
        cost = None if self.price is None else self.price.cost(usage)
        question = Question[Any](request, call_reader(Call(entry.hypotheses, entry.labels), pairs=self.pairs))
        made = time.time() if created is None else created
        try:
            commit_reply(
                self.journal, question, request, entry.key, reply, model=self.model, check_pictures=self.check,
                usage=usage, cost=cost, sent=made, done=made,
            )  # fmt: skip
            self.counts["answered"] += 1
        except AnswerError as error:
            self.failed[error.trouble] += 1
        self.counts["prompt_tokens"] += usage.prompt_tokens or 0
        self.counts["completion_tokens"] += usage.completion_tokens or 0
        self.cost += cost or 0.0

    def _take_error(self, entry: BatchEntry, line: BatchAnswer) -> None:
        assert line.error is not None
        now = time.time()
        self.journal.record(
            entry.key, self._request(entry), model=self.model, status="error", sent=now, done=now,
            reason=str(line.error), error_body=line.error.raw,
        )  # fmt: skip
        self.failed[line.label] += 1

    def _request(self, entry: BatchEntry) -> ChatRequest:
        """What was asked. Raises InputError where it is not what the index says."""
        request = self.batch.request(entry)
        if request_key(self.model, request) != entry.request_hash:
            raise InputError(
                f"{self.batch.path / entry.file}: the request {entry.custom_id[:12]} was changed since it was written"
            )
        return request
