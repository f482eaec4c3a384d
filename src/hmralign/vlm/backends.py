"""Who answers: a server, or a model in this process."""

from __future__ import annotations

import logging
from pathlib import Path

from hmralign.storage.json_file import HEADER
from hmralign.storage.limited_file import read_limited
from hmralign.structures import InputError
from hmralign.vlm.chat import ChatBackend, ChatReply, ChatRequest, LimitField
from hmralign.vlm.doctor import ServerProfile
from hmralign.vlm.errors import ServerError
from hmralign.vlm.openai_chat import OpenAIChat, OpenAIServer

logger = logging.getLogger("hmralign.critic")


class Nobody:
    """A `ChatBackend` in the name of a model, for runs that ask nobody: the journal has the answers."""

    def __init__(self, model: str) -> None:
        self._model = model

    @property
    def model(self) -> str:
        """Whose answers the journal has."""
        return self._model

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Raises `ServerError` always: with `Limits.journal_only` it is never called."""
        raise ServerError("nobody is there to ask", trouble="unasked")


def make_backend(
    base_url: str | None,
    model: str | None,
    local: Path | None,
    *,
    allow_remote: bool = False,
    device: str = "cpu",
    timeout: float = 300.0,
    concurrency: int = 16,
    plain_schema: bool = False,
    limit_field: LimitField = "max_tokens",
) -> ChatBackend:
    """A server by address and name, or a local model by folder.

    `plain_schema` sends no schema, and `limit_field` names the field for the longest answer, for servers that refuse
    what others take. Raises InputError for both or neither and for a key that can be none, and `RemoteRefused` for
    another machine without leave.
    """
    if (base_url is None) == (local is None):
        raise InputError("expected either the address of a server or the folder of a local model, not both or neither")
    if local is not None:
        if model is not None:
            raise InputError(f"the model is named '{model}', and the folder {local} is a model; expected one of them")
        from hmralign.vlm.local_transformers import LocalModel, LocalTransformers

        return LocalTransformers(LocalModel(str(local), device))
    if base_url is None or not model:
        raise InputError(f"the server {base_url} needs the name of a model, as the server calls it")
    return OpenAIChat(
        OpenAIServer(
            base_url, model, allow_remote=allow_remote, timeout=timeout, max_connections=max(concurrency, 1),
            schema_field="none" if plain_schema else "response_format", limit_field=limit_field,
        )
    )  # fmt: skip


def read_profile(path: str | Path, model: str) -> ServerProfile:
    """What the doctor found, with a warning where the model was not shown to see pictures in their order.

    Raises InputError for a file that is none, or of another model.
    """
    try:
        profile = ServerProfile.from_json(read_limited(Path(path), HEADER.max_bytes))
    except (OSError, UnicodeDecodeError, InputError) as error:
        raise InputError(f"the profile {path} cannot be read: {error}") from error
    if profile.model != model:
        raise InputError(f"the profile {path} is of the model '{profile.model}'; expected one of '{model}'")
    if not profile.usable:
        logger.warning("%s says that this model was not shown to see pictures in their order", path)
    return profile
