"""Lines of batch files: requests as OpenAI's batch services and `vllm run-batch` take them, and what comes back.

    {"custom_id", "method": "POST", "url": "/v1/chat/completions", "body": {...}}
    {"custom_id", "response": {"status_code": 200, "body": {...}}, "error": null}

Answers come in any order, and in several files: what failed may lie in one of its own. Both forms of an error are read,
that of the HTTP status and that of a line without a response (a batch that expired). vLLM writes an error without a
body, and old versions of it the completion itself where the response is expected.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from hmralign.storage.json_file import REPLY, JsonError, parse_json
from hmralign.structures.counted import counted
from hmralign.structures.errors import InputError
from hmralign.vlm.chat import ChatReply, ChatRequest
from hmralign.vlm.completion import read_completion
from hmralign.vlm.errors import ServerError, shortened
from hmralign.vlm.request_body import USUAL_FIELDS, PictureField, SchemaField, request_body
from hmralign.vlm.server_errors import trouble_of_status

URL = "/v1/chat/completions"
ERROR_KEPT = 4000
"""Characters of the body of an error."""
MOST_LINE_BYTES = 32 << 20
"""A longer line is no answer: four times the longest body that is read from a server."""
LATEST = 1e11
"""Seconds since 1970 beyond which a time is none: the year 5138."""
_LINE = replace(REPLY, max_bytes=MOST_LINE_BYTES)
KEY_DIGITS = 60
"""Digits of a question's key in the name of a later attempt: some services take at most 64 characters."""


@dataclass(frozen=True)
class BatchAnswer:
    """One line of an answer file: either a reply or an error."""

    custom_id: str
    where: str
    """File and line."""
    reply: ChatReply | None = None
    error: ServerError | None = None
    label: str = ""
    """A word or two on the error, to count by."""
    created: float | None = None
    """When the reply was made, seconds since 1970, where it says so."""


@dataclass(frozen=True)
class CorruptLine:
    """A line that is no answer."""

    where: str
    """File and line."""
    reason: str


def custom_id(key: str, attempt: int) -> str:
    """Name of a request in a batch, at most 64 characters: the question's key of 64 hex digits.

    From the second attempt on its first 60 digits and the number of the attempt. Raises InputError from 1000 on.
    """
    if attempt > 999:
        raise InputError(
            f"the question {key[:12]} has {counted(attempt, 'attempt')}; the name of a request has room for 999"
        )
    return key if attempt == 0 else f"{key[:KEY_DIGITS]}-{attempt}"


def request_line(
    name: str, request: ChatRequest, model: str, *, pictures: PictureField, schema_field: SchemaField
) -> bytes:
    """One line, with its end. ASCII alone, so that no reader sees another end of a line in it.

    Raises InputError for extra fields that are among the usual ones.
    """
    body = request_body(
        request, model, pictures=pictures, schema_field=schema_field, limit_field=request.limit_field
    )  # fmt: skip
    if twice := sorted(USUAL_FIELDS & set(request.extra)):
        raise InputError(f"the extra field '{twice[0]}' of a request is one that every request has")
    body |= request.extra
    line = {"custom_id": name, "method": "POST", "url": URL, "body": body}
    return json.dumps(line, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def read_answers(path: Path) -> Iterator[BatchAnswer | CorruptLine]:
    """Lines of an answer file, empty ones left out. Raises InputError for a file that cannot be read."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(_lines(file), start=1):
                where = f"{path}, line {number}"
                if line is None:
                    yield CorruptLine(where, f"longer than {MOST_LINE_BYTES} bytes")
                elif line.strip():
                    yield _answer(line, where)
    except OSError as error:
        raise InputError(f"the answers {path} cannot be read: {error.strerror or error}") from error


def _lines(file: BinaryIO) -> Iterator[bytes | None]:
    """Lines of a file, None for one that is too long to be read."""
    while line := file.readline(MOST_LINE_BYTES):
        if len(line) < MOST_LINE_BYTES or line.endswith(b"\n"):
            yield line
            continue
        while (rest := file.readline(MOST_LINE_BYTES)) and not rest.endswith(b"\n"):
            pass
        yield None


def _answer(line: bytes, where: str) -> BatchAnswer | CorruptLine:
    try:
        content = parse_json(line, _LINE, nan=True)
    except JsonError as error:
        return CorruptLine(where, f"no JSON ({error}); was the file cut?")
    return _of_content(content, where)


def _of_content(content: Any, where: str) -> BatchAnswer | CorruptLine:
    name = content.get("custom_id") if isinstance(content, dict) else None
    if not isinstance(name, str):
        return CorruptLine(where, "no custom_id")
    name = _writable(name)
    response, error = content.get("response"), content.get("error")
    if isinstance(error, dict) and not any(error.values()):
        error = None
    if isinstance(response, dict) and "choices" in response:  # vLLM before 0.5
        response = {"status_code": 200, "body": response}
    if isinstance(response, dict):
        return _of_response(response, error, name, where)
    if error is not None:
        return _failed(error, name, where, "server", _code(error) or "no response")
    if "body" in content:
        return CorruptLine(where, "a request; expected the answers to it")
    return CorruptLine(where, "neither a response nor an error")


def _of_response(response: dict[str, Any], error: Any, name: str, where: str) -> BatchAnswer | CorruptLine:
    status, body = response.get("status_code", 200), response.get("body")
    if not isinstance(status, int) or isinstance(status, bool):
        return CorruptLine(where, f"the status {shortened(repr(status), 40)}; expected a number")
    if status != 200 or error is not None:
        said = body if error is None else error
        trouble = trouble_of_status(status, json.dumps(said)) if status != 200 else "server"
        return _failed(said, name, where, trouble, f"status {status}" if status != 200 else _code(error) or "error")
    try:
        reply = read_completion(json.dumps(body))  # ASCII: half a surrogate pair stays an escape, which can be stored
    except ServerError as raised:
        label = "no completion" if raised.status is None else f"status {raised.status}"
        return BatchAnswer(name, where, error=raised, label=label)
    return BatchAnswer(name, where, reply=reply, created=_created(body))


def _created(body: Any) -> float | None:
    created = body.get("created") if isinstance(body, dict) else None
    if not isinstance(created, int | float) or isinstance(created, bool):
        return None
    return float(created) if 0 <= created <= LATEST else None  # no infinity, and no integer beyond all floats


def _failed(said: Any, name: str, where: str, trouble: Any, label: str) -> BatchAnswer:
    raw = json.dumps(said)
    error = ServerError(f"in a batch, {label}: {shortened(raw, 300)}", trouble=trouble, raw=raw[:ERROR_KEPT])
    return BatchAnswer(name, where, error=error, label=label)


def _code(error: Any) -> str:
    """`batch_expired` and the like; empty where there is none."""
    code = error.get("code") if isinstance(error, dict) else None
    return shortened(_writable(code), 40) if isinstance(code, str) else ""


def _writable(text: str) -> str:
    """With half surrogate pairs, which no file or terminal takes, as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
