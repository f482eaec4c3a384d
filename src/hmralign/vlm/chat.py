"""One request to a vision-language model and its reply, whoever answers: a server, a local model, a script.

A request is what is sent and nothing else, so its hash says whether it was sent before.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

FinishReason = Literal["stop", "length", "refusal", "other", "unsaid"]
"""Why an answer ended: `stop` where the model ended it, `unsaid` where the server does not say, `other` for what is
unknown."""
LimitField = Literal["max_tokens", "max_completion_tokens"]
"""Name under which the longest answer is sent."""

MOST_TOKENS = 10**8
"""Most tokens of one call: no context is as long. A server that reports more counts as reporting nothing."""


@dataclass(frozen=True)
class TextPart:
    """Words."""

    text: str


@dataclass(frozen=True)
class ImagePart:
    """A picture, as the bytes of a JPEG file; or the address of one, for servers that fetch pictures themselves."""

    data: bytes
    url: str | None = None

    @property
    def sha256(self) -> str:
        """Hash of the bytes: what is shown decides, not where it lies."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class ChatRequest:
    """One system text, one turn of the user, and how to answer."""

    system: str
    parts: tuple[TextPart | ImagePart, ...]
    schema: dict[str, Any] | None = None
    """JSON schema of the answer; None for free text."""
    schema_name: str = "answer"
    max_tokens: int = 1024
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = 0
    extra: dict[str, Any] = field(default_factory=dict)
    """Fields that only one server knows."""
    limit_field: LimitField = "max_tokens"
    """How `max_tokens` is sent. A question does not say it, so that one that was answered is answered for every server;
    what was sent for it does."""

    def content(self) -> dict[str, Any]:
        """Everything that decides the answer, pictures by their hash."""
        parts = [["text", p.text] if isinstance(p, TextPart) else ["image", p.sha256] for p in self.parts]
        return {
            "system": self.system, "parts": parts, "schema": self.schema, self.limit_field: self.max_tokens,
            "temperature": self.temperature, "top_p": self.top_p, "seed": self.seed, "extra": self.extra,
        }  # fmt: skip


def request_key(model: str, request: ChatRequest, sample: int = 0) -> str:
    """SHA-256 of the canonical content, the model, and the number of the sample where one question is asked often."""
    text = json.dumps({"model": model, "sample": sample, **request.content()}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Usage:
    """Tokens that were paid for; None where the server does not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None


def token_count(value: object) -> int | None:
    """A number of tokens that a server, or a file, gives; None for anything that can be none, and above `MOST_TOKENS`.

    >>> token_count(12), token_count(2**63 - 1), token_count(-1), token_count("12"), token_count(True)
    (12, None, None, None, None)
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS:
        return value
    return None


def whole_characters(text: str) -> str:
    """A text with a replacement character for each half of a surrogate pair, which no file or terminal takes."""
    return re.sub(r"[\ud800-\udfff]", "\ufffd", text)


@dataclass(frozen=True)
class ChatReply:
    """An answer as it came. `raw` is the server's body, kept so that nothing has to be asked twice."""

    text: str
    finish_reason: FinishReason = "stop"
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    fingerprint: str = ""
    raw: str = ""


@runtime_checkable
class ChatBackend(Protocol):
    """Whoever answers requests."""

    @property
    def model(self) -> str:
        """Name of the model, part of every key."""
        ...

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer once. Raises `hmralign.vlm.errors.ServerError` where no answer came; never makes one up."""
        ...


@runtime_checkable
class NamesLimit(Protocol):
    """A backend that says under which field it sends the longest answer."""

    @property
    def limit_field(self) -> LimitField:
        """Kept with each attempt in the journal."""
        ...
