"""What a server's error means: told by an HTTP status, or inside a body that came with status 200.

Gateways answer 200 and put the error of the provider into the body, at its top or in a choice. Its numeric code counts
as the HTTP status does; without a number, some words that servers use count as the status they stand for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from hmralign.vlm.errors import ServerTrouble

_WORDS: dict[str, int] = {
    "insufficient_quota": 402, "billing_hard_limit_reached": 402, "insufficient_credits": 402,
    "invalid_api_key": 401, "authentication_error": 401, "unauthenticated": 401, "unauthorized": 401,
    "permission_error": 403, "permission_denied": 403, "model_not_found": 404,
    "rate_limit_exceeded": 429, "rate_limit_error": 429, "rate_limited": 429, "too_many_requests": 429,
    "resource_exhausted": 429, "invalid_request_error": 400, "context_length_exceeded": 400, "invalid_argument": 400,
    "overloaded_error": 503, "overloaded": 503, "timeout": 504, "deadline_exceeded": 504,
}  # fmt: skip
"""Codes and types in words -> the HTTP status they stand for."""
_PLACES = ("code", "status", "status_code", "type")
"""Where an error says what it is, the first that says something known decides."""
_RESEND = 500
"""Status of an error that does not say what it is: the same request may succeed later."""


@dataclass(frozen=True)
class ErrorInBody:
    """An error where an answer was expected."""

    status: int
    """HTTP status it counts as."""
    text: str
    """The error as JSON."""

    @property
    def trouble(self) -> ServerTrouble:
        """What it says of this request, and of others."""
        return trouble_of_status(self.status, self.text)


def error_in_body(body: Any) -> ErrorInBody | None:
    """The error in a body that was read from JSON, at its top or in its first choice; None where there is none.

    A choice that ended with `error` is one also where it says no more.

    >>> error_in_body({"error": {"code": "429", "message": "slow down"}}).trouble
    'rate_limit'
    """
    if isinstance(body, list) and len(body) == 1:  # Google's servers wrap errors in a list
        body = body[0]
    if not isinstance(body, dict):
        return None
    if error := body.get("error"):
        return _error(error, body)
    choices = body.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        first = choices[0]
        if error := first.get("error"):
            return _error(error, first)
        if str(first.get("finish_reason")).strip().lower() == "error":
            return _error({"finish_reason": "error"}, first)
    elif not choices and (status := _known_status(body)) is not None:  # {"object": "error", "code": 400, ...}
        return ErrorInBody(status, _as_text(body))
    return None


def trouble_of_status(status: int, raw: str) -> ServerTrouble:
    """What an HTTP status with that body says."""
    if status == 429:
        return "account" if "insufficient_quota" in raw else "rate_limit"
    if status in (408, 504):
        return "timeout"
    if status in (409, 425) or status >= 500:
        return "server"
    # A redirect is not followed, so it is an address that is wrong for every request.
    return "account" if status in (401, 402, 403, 404, 405) or status < 400 else "request"


def _error(error: Any, around: dict[str, Any]) -> ErrorInBody:
    """`around` is the object that has it, where some servers put the code."""
    for place in (error, around):
        if isinstance(place, dict) and (status := _known_status(place)) is not None:
            return ErrorInBody(status, _as_text(error))
    return ErrorInBody(_RESEND, _as_text(error))


def _known_status(error: dict[str, Any]) -> int | None:
    return next((status for name in _PLACES if (status := _as_status(error.get(name))) is not None), None)


def _as_status(code: Any) -> int | None:
    """A number of 400 to 599, also as digits in a text, or a word that stands for one."""
    if isinstance(code, str):
        word = code.strip().lower()
        number = int(word) if word.isascii() and word.isdigit() and len(word) == 3 else _WORDS.get(word)
    elif isinstance(code, int | float) and not isinstance(code, bool):
        number = int(code) if 400 <= code <= 599 and code == int(code) else None
    else:
        number = None
    return number if number is not None and 400 <= number <= 599 else None


def _as_text(error: Any) -> str:
    try:
        return json.dumps(error)
    except RecursionError:
        return "an error that is nested too deeply to be shown"
