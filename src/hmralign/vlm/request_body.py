"""The body of a request for a chat completion, written and read again: sent to a server, or kept in a batch file."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any, Literal

from hmralign.structures.errors import InputError
from hmralign.vlm.chat import ChatRequest, ImagePart, LimitField, TextPart

PictureField = Literal["inline", "address"]
"""Send the bytes, or the address where a picture has one."""
SchemaField = Literal["response_format", "none"]

USUAL_FIELDS = {
    "model", "messages", "temperature", "top_p", "max_tokens", "max_completion_tokens", "seed", "response_format",
}  # fmt: skip


def request_body(
    request: ChatRequest,
    model: str,
    *,
    pictures: PictureField = "inline",
    schema_field: SchemaField = "response_format",
    limit_field: LimitField = "max_tokens",
) -> dict[str, Any]:
    """Fields that every server takes. `ChatRequest.extra` is not among them: its fields lie beside these."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": request.system}] if request.system else []
    messages.append({"role": "user", "content": [_part(part, pictures) for part in request.parts]})
    body: dict[str, Any] = {
        "model": model, "messages": messages, "temperature": request.temperature, "top_p": request.top_p,
        limit_field: request.max_tokens,
    }  # fmt: skip
    if request.seed is not None:
        body["seed"] = request.seed
    if request.schema is not None and schema_field == "response_format":
        schema = {"name": request.schema_name, "strict": True, "schema": request.schema}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


def request_of_body(
    body: dict[str, Any], picture: Callable[[str], bytes], schema: dict[str, Any] | None = None
) -> ChatRequest:
    """The request that has this body; `picture` gives the bytes at an address that holds none itself.

    `schema` is taken where the body has none. Raises InputError for a body that `request_body` does not write.
    """
    try:
        *before, user = body["messages"]
        form = body.get("response_format", {}).get("json_schema", {"schema": schema, "name": "answer"})
        limit: LimitField = "max_tokens" if "max_tokens" in body else "max_completion_tokens"
        return ChatRequest(
            system=before[0]["content"] if before else "",
            parts=tuple(_read_part(part, picture) for part in user["content"]),
            schema=form["schema"],
            schema_name=form["name"],
            max_tokens=body[limit],
            temperature=body["temperature"],
            top_p=body["top_p"],
            seed=body.get("seed"),
            extra={name: value for name, value in body.items() if name not in USUAL_FIELDS},
            limit_field=limit,
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, binascii.Error) as error:
        raise InputError(f"a request in a batch file has another form than it was written in ({error})") from error


def _part(part: TextPart | ImagePart, pictures: PictureField) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    if pictures == "address" and part.url:
        return {"type": "image_url", "image_url": {"url": part.url}}
    data = base64.b64encode(part.data).decode("ascii")
    return {"type": "image_url", "image_url": {"url": f"data:image/{picture_kind(part.data)};base64,{data}"}}


def picture_kind(data: bytes) -> Literal["png", "jpeg"]:
    """Tell which of the two kinds that are sent a picture is."""
    return "png" if data.startswith(b"\x89PNG") else "jpeg"


def _read_part(part: dict[str, Any], picture: Callable[[str], bytes]) -> TextPart | ImagePart:
    if part["type"] == "text":
        return TextPart(part["text"])
    address = part["image_url"]["url"]
    if address.startswith("data:"):
        return ImagePart(base64.b64decode(address.partition(",")[2], validate=True))
    return ImagePart(picture(address), address)
