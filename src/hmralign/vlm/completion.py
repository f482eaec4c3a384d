"""The body of an OpenAI chat completion, read and written.

The journal keeps bodies as they came, and everything else is derived from them by `read_completion`. Backends that
speak no HTTP write the same body with `write_completion`, so that there is one kind of body to keep.
"""

from __future__ import annotations

import json
from typing import Any

from hmralign.vlm.chat import ChatReply, FinishReason, Usage, token_count
from hmralign.vlm.errors import ServerError, shortened

_FINISH: dict[str, FinishReason] = {"stop": "stop", "length": "length", "content_filter": "refusal"}


def read_completion(raw: str) -> ChatReply:
    """First choice of a completion.

    Servers with a reasoning parser put the whole answer into `reasoning_content` or `reasoning` at times (vLLM issues
    18819 and 50948), so these are read where `content` is empty. Raises `ServerError` (`body`) for anything that is not
    a completion; an empty answer is returned as it is.
    """
    try:
        body = json.loads(raw)
    except ValueError:
        raise _no_completion("no JSON", raw) from None
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise _no_completion("no choices", raw)
    message = choices[0].get("message")
    if not isinstance(message, dict):
        raise _no_completion("no message", raw)
    refused = _text(message.get("refusal"))
    finish = "refusal" if refused else _FINISH.get(str(choices[0].get("finish_reason")), "other")
    texts = [_text(message.get(name)) for name in ("content", "reasoning_content", "reasoning")]
    return ChatReply(
        text=next((t for t in texts if t.strip()), refused),
        finish_reason=finish,
        usage=_usage(body.get("usage")),
        model=_text(body.get("model")),
        fingerprint=_text(body.get("system_fingerprint")),
        raw=raw,
    )


def write_completion(reply: ChatReply) -> str:
    """The body that reads as `reply`."""
    usage: dict[str, Any] = {
        "prompt_tokens": reply.usage.prompt_tokens,
        "completion_tokens": reply.usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": reply.usage.cached_tokens},
    }
    finish = {"refusal": "content_filter"}.get(reply.finish_reason, reply.finish_reason)
    message = {"role": "assistant", "content": reply.text}
    body = {
        "object": "chat.completion",
        "model": reply.model,
        "system_fingerprint": reply.fingerprint or None,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": usage,
    }
    return json.dumps(body, ensure_ascii=False)


def _usage(value: Any) -> Usage:
    if not isinstance(value, dict):
        return Usage()
    details = value.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    counts = (value.get("prompt_tokens"), value.get("completion_tokens"), cached)
    return Usage(*map(token_count, counts))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _no_completion(what: str, raw: str) -> ServerError:
    shown = shortened(raw)
    return ServerError(f"the server's body is not a chat completion: {what} in {shown!r}", trouble="body", raw=shown)
