"""The body of an OpenAI chat completion, read and written.

The journal keeps bodies as they came, and everything else is derived from them by `read_completion`. Backends that
speak no HTTP write the same body with `write_completion`, so that there is one kind of body to keep.
"""

from __future__ import annotations

import json
from typing import Any

from hmralign.storage.json_file import REPLY, JsonError, parse_json
from hmralign.vlm.chat import ChatReply, FinishReason, Usage, token_count, whole_characters
from hmralign.vlm.errors import ServerError, shortened
from hmralign.vlm.server_errors import error_in_body

_ENDS: dict[FinishReason, tuple[str, ...]] = {
    "stop": (
        "stop", "stopped", "stop_sequence", "stop_token", "eos", "eos_token", "eot", "eot_id", "end", "endoftext",
        "end_turn", "end_of_turn", "end_of_text", "complete", "completed", "finished",
    ),
    "length": (
        "length", "max_length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded",
    ),
    "refusal": (
        "content_filter", "content_filtered", "refusal", "safety", "blocklist", "prohibited_content", "recitation",
        "guardrail_intervened",
    ),
}  # fmt: skip
"""What servers and gateways write for the end of an answer: OpenAI, Together, TGI, watsonx, Anthropic, Bedrock, Cohere,
Google, Mistral, by their documentation."""
_FINISH: dict[str, FinishReason] = {word: finish for finish, words in _ENDS.items() for word in words}
_NAME_KEPT = 500
"""Characters of the name of a model."""
_ERROR_SHOWN = 300
_ERROR_KEPT = 4000
"""Characters of an error."""


def read_completion(raw: str) -> ChatReply:
    """First choice of a completion.

    Servers with a reasoning parser put the whole answer into `reasoning_content` or `reasoning` at times (vLLM issues
    18819 and 50948), so these are read where `content` is empty. Raises `ServerError` for anything that is not a
    completion, and for an error inside a body or choice, by what it says; an empty answer is returned as it is.
    """
    try:
        body = parse_json(raw.removeprefix("\ufeff"), REPLY, nan=True)
    except JsonError:
        raise _no_completion("no JSON", raw) from None
    if (error := error_in_body(body)) is not None:
        shown = shortened(error.text, _ERROR_SHOWN)
        raise ServerError(
            f"with an error inside that counts as {error.status}: {shown}", trouble=error.trouble, status=error.status,
            raw=raw[:_ERROR_KEPT],
        )  # fmt: skip
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise _no_completion("no choices", raw)
    message = choices[0].get("message")
    if not isinstance(message, dict):
        raise _no_completion("no message", raw)
    refused = _text(message.get("refusal"))
    texts = [_text(message.get(name)) for name in ("content", "reasoning_content", "reasoning")]
    return ChatReply(
        text=next((t for t in texts if t.strip()), refused),
        finish_reason="refusal" if refused else _finish(choices[0].get("finish_reason")),
        usage=_usage(body.get("usage")),
        model=_text(body.get("model"))[:_NAME_KEPT],
        fingerprint=_text(body.get("system_fingerprint"))[:_NAME_KEPT],
        raw=raw,
    )


def write_completion(reply: ChatReply) -> str:
    """The body that reads as `reply`."""
    usage: dict[str, Any] = {
        "prompt_tokens": reply.usage.prompt_tokens,
        "completion_tokens": reply.usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": reply.usage.cached_tokens},
    }
    finish = {"refusal": "content_filter", "unsaid": None}.get(reply.finish_reason, reply.finish_reason)
    message = {"role": "assistant", "content": reply.text}
    body = {
        "object": "chat.completion",
        "model": reply.model,
        "system_fingerprint": reply.fingerprint or None,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": usage,
    }
    return json.dumps(body, ensure_ascii=False)


def _finish(said: Any) -> FinishReason:
    """`unsaid` for a server that gives no reason, `other` for one that is not known."""
    if said is None or said == "":
        return "unsaid"
    word = str(said).strip().lower().replace("-", "_").removeprefix("finish_reason_")
    return _FINISH.get(word, "other")


def _usage(value: Any) -> Usage:
    if not isinstance(value, dict):
        return Usage()
    details = value.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    counts = (value.get("prompt_tokens"), value.get("completion_tokens"), cached)
    return Usage(*map(token_count, counts))


def _text(value: Any) -> str:
    return whole_characters(value) if isinstance(value, str) else ""


def _no_completion(what: str, raw: str) -> ServerError:
    shown = shortened(raw)
    return ServerError(f"its body is not a chat completion: {what} in {shown!r}", trouble="body", raw=shown)
