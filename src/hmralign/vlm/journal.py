"""The journal of calls: nothing lost, nothing paid twice.

One row per attempt, committed before anything is done with its answer. Bodies are kept as they came; what they say is
read from them again whenever it is needed, so that another parser costs no call. A hard kill loses only the calls that
were in flight, because chat completions know no exactly-once: at most as many as ran at the same time.

Pictures of people are not kept unless that is asked for, only their hashes; neither is the text of prompts.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hmralign.structures.errors import InputError
from hmralign.vlm.chat import ChatReply, ChatRequest, ImagePart, TextPart, Usage, request_key
from hmralign.vlm.completion import read_completion, write_completion

Status = Literal["ok", "invalid", "refused", "error"]
"""`ok`: used. `invalid`: came and could not be used. `refused`: the model would not answer. `error`: nothing came."""

FORMAT_VERSION = 1
APPLICATION_ID = 0x484D524A
"""Marks an SQLite file as a journal."""
BUSY_SECONDS = 30.0
"""How long one process waits for another that is writing."""

_TABLES = """
CREATE TABLE call (
    id TEXT PRIMARY KEY, key TEXT NOT NULL, attempt INTEGER NOT NULL, request_hash TEXT NOT NULL, model TEXT NOT NULL,
    params TEXT NOT NULL, prompt_hash TEXT NOT NULL, image_hashes TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('ok', 'invalid', 'refused', 'error')), reason TEXT NOT NULL,
    body TEXT NOT NULL, usage TEXT NOT NULL, cost REAL, sent REAL NOT NULL, done REAL NOT NULL);
CREATE INDEX call_key ON call (key, attempt);
CREATE TABLE image (sha256 TEXT PRIMARY KEY, data BLOB NOT NULL);
"""
_COLUMNS = (
    "id", "key", "attempt", "request_hash", "model", "params", "prompt_hash", "image_hashes", "status", "reason",
    "body", "usage", "cost", "sent", "done",
)  # fmt: skip


@dataclass(frozen=True)
class Attempt:
    """One call and what came of it."""

    key: str
    """Of the question: the same for every attempt at it."""
    attempt: int
    """Counted from 0 within the question."""
    request_hash: str
    """Of what was sent, which differs from the question's where the seed was changed or a repair was asked for."""
    model: str
    params: dict[str, Any]
    prompt_hash: str
    image_hashes: tuple[str, ...]
    status: Status
    reason: str
    body: str
    usage: Usage
    cost: float | None
    """In the currency of the price table; None without a price."""
    sent: float
    """Seconds since 1970."""
    done: float

    def reply(self) -> ChatReply:
        """The answer, read from its body. Raises `ServerError` where the body is no completion."""
        return read_completion(self.body)


@dataclass(frozen=True)
class Spent:
    """Sums over all attempts of a journal."""

    calls: int
    answers: int
    """Attempts with status ok."""
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost: float
    unpriced: int
    """Calls that came back without a cost: no price for the model. Errors are not counted."""


class Journal:
    """An SQLite file; several processes may write to it."""

    def __init__(self, path: Path, connection: sqlite3.Connection, keep_images: bool) -> None:
        self.path, self._connection, self._keep_images = path, connection, keep_images

    @classmethod
    def open(cls, path: str | Path, *, keep_images: bool = False) -> Journal:
        """Open a journal, or begin one.

        Raises InputError for a damaged file, a file of something else, or a journal of a newer version.
        """
        path = Path(path)
        with _naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            with _naming(path):
                _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
        return cls(path, connection, keep_images)

    def close(self) -> None:
        """Everything recorded is on disk already."""
        self._connection.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def record(
        self,
        key: str,
        request: ChatRequest,
        *,
        model: str,
        status: Status,
        sent: float,
        done: float,
        reply: ChatReply | None = None,
        reason: str = "",
        error_body: str = "",
        usage: Usage | None = None,
        cost: float | None = None,
    ) -> Attempt:
        """Commit one attempt; on return it is on disk.

        `usage` replaces what the reply says, for servers that say nothing. Raises InputError for status ok without an
        answer: neither errors nor empty bodies ever become answers.
        """
        if status == "ok" and (reply is None or not reply.text.strip()):
            raise InputError(f"an attempt at {key[:12]} is to be kept as an answer, and its text is empty")
        body = error_body if reply is None else reply.raw or write_completion(reply)
        images = [part for part in request.parts if isinstance(part, ImagePart)]
        with self._writing():
            row = Attempt(
                key, self._next_attempt(key), request_key(model, request), model, _params(request),
                _prompt_hash(request), tuple(image.sha256 for image in images), status, reason, body,
                usage or (reply.usage if reply else Usage()), cost, sent, done,
            )  # fmt: skip
            self._insert(row)
            if self._keep_images:
                rows = [(image.sha256, image.data) for image in images]
                self._connection.executemany("INSERT OR IGNORE INTO image VALUES (?, ?)", rows)
        return row

    def attempts(self, key: str) -> list[Attempt]:
        """All attempts at a question, in the order in which they were made."""
        query = f"SELECT {', '.join(_COLUMNS)} FROM call WHERE key = ? ORDER BY attempt, done"
        with _naming(self.path):
            return [_attempt(row) for row in self._connection.execute(query, (key,))]

    def answer(self, key: str) -> Attempt | None:
        """The last attempt that was used, or None."""
        return next((a for a in reversed(self.attempts(key)) if a.status == "ok"), None)

    def image(self, sha256: str) -> bytes | None:
        """A picture, where pictures are kept."""
        with _naming(self.path):
            found = self._connection.execute("SELECT data FROM image WHERE sha256 = ?", (sha256,)).fetchone()
        return None if found is None else found[0]

    def spent(self) -> Spent:
        """What all calls cost so far."""
        query = """
            SELECT count(*), coalesce(sum(status = 'ok'), 0), coalesce(sum(json_extract(usage, '$[0]')), 0),
                   coalesce(sum(json_extract(usage, '$[2]')), 0), coalesce(sum(json_extract(usage, '$[1]')), 0),
                   coalesce(sum(cost), 0.0), coalesce(sum(cost IS NULL AND status != 'error'), 0) FROM call"""
        with _naming(self.path):
            row = self._connection.execute(query).fetchone()
        return Spent(*row[:5], cost=float(row[5]), unpriced=row[6])

    def merge(self, others: Sequence[str | Path]) -> int:
        """Take over the attempts of other journals, such as those of shards; gives how many were new."""
        new = 0
        for other in others:
            if not Path(other).is_file():
                raise InputError(f"{other} is no file; expected a journal to merge")
            with Journal.open(other) as source, _naming(source.path):
                rows = source._connection.execute(f"SELECT {', '.join(_COLUMNS)} FROM call ORDER BY rowid")
                with self._writing():
                    new += sum(self._insert(_attempt(row)) for row in rows)
                if self._keep_images:
                    images = source._connection.execute("SELECT sha256, data FROM image")
                    with self._writing():
                        self._connection.executemany("INSERT OR IGNORE INTO image VALUES (?, ?)", images)
        return new

    def _next_attempt(self, key: str) -> int:
        return self._connection.execute("SELECT count(*) FROM call WHERE key = ?", (key,)).fetchone()[0]

    def _insert(self, row: Attempt) -> int:
        usage = [row.usage.prompt_tokens, row.usage.completion_tokens, row.usage.cached_tokens]
        values = [
            row.key, row.attempt, row.request_hash, row.model, json.dumps(row.params, sort_keys=True), row.prompt_hash,
            json.dumps(row.image_hashes), row.status, row.reason, row.body, json.dumps(usage), row.cost, row.sent,
            row.done,
        ]  # fmt: skip
        # The name of a row is its content, so that the same attempt is the same row in every journal.
        name = hashlib.sha256(json.dumps(values).encode()).hexdigest()
        marks = ", ".join("?" * len(_COLUMNS))
        return self._connection.execute(f"INSERT OR IGNORE INTO call VALUES ({marks})", [name, *values]).rowcount

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with _naming(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("BEGIN IMMEDIATE")
    application, version, tables = (
        connection.execute(query).fetchone()[0]
        for query in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
    )
    if application != APPLICATION_ID and (application or tables):
        raise InputError(f"{path} is an SQLite file of something else; expected a journal of calls")
    if version > FORMAT_VERSION:
        raise InputError(f"{path} is a journal of version {version}; this program reads up to {FORMAT_VERSION}")
    if not tables:
        for statement in _TABLES.split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
    connection.execute("COMMIT")
    connection.execute("SELECT count(*) FROM call WHERE key = ''").fetchone()


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors of SQLite and of the file system name the journal."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise InputError(f"the journal {path} cannot be used: {error}") from error
    except sqlite3.DatabaseError as error:
        raise InputError(f"the journal {path} is damaged, or is no journal: {error}") from error
    except OSError as error:
        raise InputError(f"the journal {path} cannot be opened: {error.strerror}") from error


def _attempt(row: tuple[Any, ...]) -> Attempt:
    named = dict(zip(_COLUMNS[1:], row[1:], strict=True))
    named["params"] = json.loads(named["params"])
    named["image_hashes"] = tuple(json.loads(named["image_hashes"]))
    named["usage"] = Usage(*json.loads(named["usage"]))
    return Attempt(**named)


def _params(request: ChatRequest) -> dict[str, Any]:
    schema = json.dumps(request.schema, sort_keys=True)
    return {
        "max_tokens": request.max_tokens, "temperature": request.temperature, "top_p": request.top_p,
        "seed": request.seed, "extra": request.extra, "schema": hashlib.sha256(schema.encode()).hexdigest(),
    }  # fmt: skip


def _prompt_hash(request: ChatRequest) -> str:
    texts = [part.text for part in request.parts if isinstance(part, TextPart)]
    return hashlib.sha256(json.dumps([request.system, texts]).encode()).hexdigest()
