"""The journal of calls: nothing lost, nothing paid twice.

One row per attempt, committed before anything is done with its answer. Bodies are kept as they came; what they say is
read from them again whenever it is needed, so that another parser costs no call. A hard kill loses only the calls that
were in flight, because chat completions know no exactly-once: at most as many as ran at the same time.

Pictures of people are not kept unless that is asked for, only their hashes; neither is the text of prompts.

A file is checked before it is read (`storage.sqlite_file`), and so is each row: numbers of tokens that no call can have
count as unsaid, anything else that this program does not write is damage.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from hmralign.storage.json_file import REPLY, JsonError, parse_json
from hmralign.storage.sqlite_file import SQLiteForm, naming, open_sqlite
from hmralign.structures.errors import InputError
from hmralign.vlm.chat import (
    MOST_TOKENS,
    ChatReply,
    ChatRequest,
    ImagePart,
    TextPart,
    Usage,
    request_key,
    token_count,
)
from hmralign.vlm.completion import read_completion, write_completion

Status = Literal["ok", "invalid", "refused", "error"]
"""`ok`: used. `invalid`: came and could not be used. `refused`: the model would not answer. `error`: nothing came."""

FORMAT_VERSION = 1
APPLICATION_ID = 0x484D524A
"""Marks an SQLite file as a journal."""

_CALL = """
CREATE TABLE call (
    id TEXT PRIMARY KEY, key TEXT NOT NULL, attempt INTEGER NOT NULL, request_hash TEXT NOT NULL, model TEXT NOT NULL,
    params TEXT NOT NULL, prompt_hash TEXT NOT NULL, image_hashes TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('ok', 'invalid', 'refused', 'error')), reason TEXT NOT NULL,
    body TEXT NOT NULL, usage TEXT NOT NULL, cost REAL, sent REAL NOT NULL, done REAL NOT NULL)
"""
_KEY = "CREATE INDEX call_key ON call (key, attempt)"
_IMAGE = "CREATE TABLE image (sha256 TEXT PRIMARY KEY, data BLOB NOT NULL)"
FORM = SQLiteForm("journal", APPLICATION_ID, FORMAT_VERSION, (_CALL, _KEY, _IMAGE))
_COLUMNS = (
    "id", "key", "attempt", "request_hash", "model", "params", "prompt_hash", "image_hashes", "status", "reason",
    "body", "usage", "cost", "sent", "done",
)  # fmt: skip

_SPENT = """
WITH told AS (
    SELECT status, cost, json_extract(usage, '$[0]') AS prompt, json_extract(usage, '$[1]') AS answer,
           json_extract(usage, '$[2]') AS cached FROM call),
bounded AS (
    SELECT status, CASE WHEN max(coalesce(prompt, 0), coalesce(answer, 0)) <= :most THEN cost END AS cost,
           CASE WHEN prompt BETWEEN 0 AND :most THEN prompt ELSE 0 END AS prompt,
           CASE WHEN answer BETWEEN 0 AND :most THEN answer ELSE 0 END AS answer,
           CASE WHEN cached BETWEEN 0 AND :most THEN cached ELSE 0 END AS cached FROM told)
SELECT count(*), coalesce(sum(status = 'ok'), 0), coalesce(sum(prompt), 0), coalesce(sum(cached), 0),
       coalesce(sum(answer), 0), coalesce(sum(cost), 0.0), coalesce(sum(cost IS NULL AND status != 'error'), 0)
FROM bounded"""
"""Sums of what one call can have: `:most` tokens, and a cost that was not reckoned from more."""


@dataclass(frozen=True)
class Attempt:
    """One call and what came of it."""

    key: str
    """Key of the question: the same for every attempt at it."""
    attempt: int
    """Counted from 0 within the question."""
    request_hash: str
    """Hash of what was sent, which differs from the question's where the seed or the request was changed."""
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
        return cls(path, open_sqlite(path, FORM), keep_images)

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
        body = _writable(error_body if reply is None else reply.raw or write_completion(reply))
        images = [part for part in request.parts if isinstance(part, ImagePart)]
        with self._writing():
            row = Attempt(
                key, self._next_attempt(key), request_key(model, request), model, _params(request),
                _prompt_hash(request), tuple(image.sha256 for image in images), status, _writable(reason), body,
                _bounded(usage or (reply.usage if reply else Usage())), cost, sent, done,
            )  # fmt: skip
            self._insert(row)
            if self._keep_images:
                rows = [(image.sha256, image.data) for image in images]
                self._connection.executemany("INSERT OR IGNORE INTO image VALUES (?, ?)", rows)
        return row

    def attempts(self, key: str) -> list[Attempt]:
        """All attempts at a question, in the order in which they were made."""
        query = f"SELECT {', '.join(_COLUMNS)} FROM call WHERE key = ? ORDER BY attempt, done"
        with naming(self.path, FORM.noun):
            return [_attempt(row) for row in self._connection.execute(query, (key,))]

    def answer(self, key: str) -> Attempt | None:
        """The last attempt that was used, or None."""
        return next((a for a in reversed(self.attempts(key)) if a.status == "ok"), None)

    def image(self, sha256: str) -> bytes | None:
        """A picture, where pictures are kept. Raises InputError where its bytes are not those that were stored."""
        with naming(self.path, FORM.noun):
            found = self._connection.execute("SELECT data FROM image WHERE sha256 = ?", (sha256,)).fetchone()
            return None if found is None else _whole_image(sha256, found[0])

    def spent(self) -> Spent:
        """What all calls cost so far.

        Tokens beyond what one call can have are left out of the sums, and so is a cost that was reckoned from them.
        """
        named = {"most": MOST_TOKENS}
        with naming(self.path, FORM.noun):
            row = self._connection.execute(_SPENT, named).fetchone()
        return Spent(*map(int, row[:5]), cost=float(row[5]), unpriced=row[6])

    def merge(self, others: Sequence[str | Path]) -> int:
        """Take over the attempts of other journals, such as those of shards; gives how many were new."""
        new = 0
        for other in others:
            if not Path(other).is_file():
                raise InputError(f"{other} is no file; expected a journal to merge")
            with Journal.open(other) as source:
                with self._writing():
                    new += sum(self._insert_values(row) for row in source._rows())
                if self._keep_images:
                    with self._writing():
                        self._connection.executemany("INSERT OR IGNORE INTO image VALUES (?, ?)", source._images())
        return new

    def _rows(self) -> Iterator[list[Any]]:
        """All attempts as they stand, without their names, in the order in which they came. Raises as `attempts`."""
        with naming(self.path, FORM.noun):
            for row in self._connection.execute(f"SELECT {', '.join(_COLUMNS)} FROM call ORDER BY rowid"):
                _attempt(row)
                yield list(row[1:])

    def _images(self) -> Iterator[tuple[str, bytes]]:
        with naming(self.path, FORM.noun):
            for name, data in self._connection.execute("SELECT sha256, data FROM image"):
                yield name, _whole_image(name, data)

    def _next_attempt(self, key: str) -> int:
        return self._connection.execute("SELECT count(*) FROM call WHERE key = ?", (key,)).fetchone()[0]

    def _insert(self, row: Attempt) -> int:
        usage = [row.usage.prompt_tokens, row.usage.completion_tokens, row.usage.cached_tokens]
        values = [
            row.key, row.attempt, row.request_hash, row.model, json.dumps(row.params, sort_keys=True), row.prompt_hash,
            json.dumps(row.image_hashes), row.status, row.reason, row.body, json.dumps(usage), row.cost, row.sent,
            row.done,
        ]  # fmt: skip
        return self._insert_values(values)

    def _insert_values(self, values: list[Any]) -> int:
        # The name of a row is its content, so that the same attempt is the same row in every journal.
        name = hashlib.sha256(json.dumps(values).encode()).hexdigest()
        marks = ", ".join("?" * len(_COLUMNS))
        return self._connection.execute(f"INSERT OR IGNORE INTO call VALUES ({marks})", [name, *values]).rowcount

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with naming(self.path, FORM.noun):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


def _attempt(row: tuple[Any, ...]) -> Attempt:
    """Raises ValueError for a row that this program does not write."""
    named: dict[str, Any] = dict(zip(_COLUMNS[1:], row[1:], strict=True))
    for name in ("key", "request_hash", "model", "prompt_hash", "reason", "body"):
        _require(isinstance(named[name], str), named, name)
    named["params"], hashes, usage = (_read_json(named, name) for name in ("params", "image_hashes", "usage"))
    _require(isinstance(named["params"], dict), named, "params")
    _require(isinstance(hashes, list) and all(isinstance(value, str) for value in hashes), named, "image_hashes")
    _require(isinstance(usage, list) and len(usage) == len(fields(Usage)), named, "usage")
    _require(named["status"] in get_args(Status), named, "status")
    _require(isinstance(named["attempt"], int), named, "attempt")
    for name in ("cost", "sent", "done"):
        _require(isinstance(named[name], float) or (name == "cost" and named[name] is None), named, name)
    named["image_hashes"], named["usage"] = tuple(hashes), Usage(*map(token_count, usage))
    return Attempt(**named)


def _read_json(named: dict[str, Any], name: str) -> Any:
    try:
        return parse_json(named[name], REPLY, nan=True)
    except (TypeError, JsonError):
        return _require(False, named, name)


def _require(good: bool, named: dict[str, Any], name: str) -> None:
    if not good:
        raise ValueError(f"the call {str(named['key'])[:12]!r} has a '{name}' that cannot be read")


def _whole_image(name: Any, data: Any) -> bytes:
    """Raises ValueError for bytes that have another hash than the one they are kept under."""
    if not isinstance(data, bytes) or hashlib.sha256(data).hexdigest() != name:
        raise ValueError(f"the picture {str(name)[:12]!r} is changed")
    return data


def _bounded(usage: Usage) -> Usage:
    return Usage(*map(token_count, (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)))


def _writable(text: str) -> str:
    """With half surrogate pairs, which a server's words may have and no file takes, as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _params(request: ChatRequest) -> dict[str, Any]:
    schema = json.dumps(request.schema, sort_keys=True)
    return {
        request.limit_field: request.max_tokens, "temperature": request.temperature, "top_p": request.top_p,
        "seed": request.seed, "extra": request.extra, "schema": hashlib.sha256(schema.encode()).hexdigest(),
    }  # fmt: skip


def _prompt_hash(request: ChatRequest) -> str:
    texts = [part.text for part in request.parts if isinstance(part, TextPart)]
    return hashlib.sha256(json.dumps([request.system, texts]).encode()).hexdigest()
