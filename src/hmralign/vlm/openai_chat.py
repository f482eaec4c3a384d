"""Any server that speaks the chat completions of OpenAI: vLLM, SGLang, llama-server, Ollama, LM Studio, hosted ones.

Only fields that all of them take are sent; what one server alone knows goes into `ChatRequest.extra`. The client sends
each request once: retries belong to `asking`, where each attempt is in the journal.
"""

from __future__ import annotations

import asyncio
import email.utils
import ipaddress
import os
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from hmralign.structures.errors import InputError
from hmralign.vlm.chat import ChatReply, ChatRequest
from hmralign.vlm.completion import read_completion
from hmralign.vlm.errors import RemoteRefused, ServerError, ServerTrouble, shortened
from hmralign.vlm.request_body import LimitField, PictureField, SchemaField, request_body

_RAW_KEPT = 4000
"""Characters of the body of an error."""


@dataclass(frozen=True)
class OpenAIServer:
    """Where a server is and how to speak to it."""

    base_url: str
    """Up to and with `/v1`."""
    model: str
    """As the server calls it."""
    key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; a server without keys needs none."""
    allow_remote: bool = False
    """Whether pictures may leave this machine."""
    timeout: float = 300.0
    """For a whole answer, seconds."""
    connect_timeout: float = 10.0
    """Seconds."""
    max_connections: int = 64
    """Calls at once."""
    pictures: PictureField = "inline"
    """Send the bytes, or the address where a picture has one and the server can fetch it."""
    schema_field: SchemaField = "response_format"
    """`none` for servers that refuse schemas: the answer is checked all the same."""
    limit_field: LimitField = "max_tokens"
    """The newest models of OpenAI take only the second."""

    def __post_init__(self) -> None:
        """Raise InputError for an address that is none, `RemoteRefused` for another machine without leave."""
        check_address(self.base_url, allow_remote=self.allow_remote)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine. Names other than `localhost` are taken to be elsewhere: they are not resolved."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_address(base_url: str, *, allow_remote: bool) -> None:
    """Raise InputError for an address that is none, `RemoteRefused` for another machine without leave."""
    try:
        parts = urlsplit(base_url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise InputError(f"{shortened(base_url)!r} is no address of a server; expected http://host:port/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InputError(f"the address of {host} holds a user, a key or a query; keys come from the environment")
    if not allow_remote and not is_loopback(host):
        raise RemoteRefused(
            f"{host} is not this machine, and photos of people would be sent to it; say --allow-remote if they may"
        )


class OpenAIChat:
    """A `ChatBackend`. Raises InputError where the extra `vlm` is not installed."""

    def __init__(self, server: OpenAIServer) -> None:
        try:
            import openai
        except ImportError as error:
            raise InputError("the package openai is missing; install hmralign[vlm]") from error
        self._openai: Any = openai
        self.server = server
        self._key = os.environ.get(server.key_variable, "").strip()
        self._client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def model(self) -> str:
        """As the server calls it."""
        return self.server.model

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer once. Raises `ServerError` where no completion came."""
        openai = self._openai
        send = self._of_this_loop().chat.completions.with_raw_response.create
        try:
            response = await asyncio.wait_for(send(**self.body(request)), self.server.timeout)
            raw = response.http_response.text
        except (asyncio.TimeoutError, openai.APITimeoutError):
            message = f"no answer of {self.server.base_url} within {self.server.timeout:g} s"
            raise ServerError(message, trouble="timeout") from None
        except openai.APIStatusError as error:
            raise self._status_error(error.response) from None
        except openai.APIConnectionError as error:
            cause = self._clean(str(error.__cause__ or error))
            message = f"no connection to {self.server.base_url}: {cause}"
            raise ServerError(message, trouble="connection") from None
        return read_completion(self._clean(raw))

    async def close(self) -> None:
        """Close the connections of this event loop."""
        if self._client is not None and self._loop is asyncio.get_running_loop():
            await self._client.close()
        self._client = self._loop = None

    def body(self, request: ChatRequest) -> dict[str, Any]:
        """Fields of the request, as the client takes them."""
        server = self.server
        body = request_body(
            request, server.model, pictures=server.pictures, schema_field=server.schema_field,
            limit_field=server.limit_field,
        )  # fmt: skip
        if request.extra:
            body["extra_body"] = request.extra
        return body

    def _of_this_loop(self) -> Any:
        """Connections belong to an event loop, so each loop has its own client."""
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._client, self._loop = self._new_client(), loop
        return self._client

    def _new_client(self) -> Any:
        import httpx2

        server = self.server
        local = is_loopback(urlsplit(server.base_url).hostname or "")
        limits = httpx2.Limits(max_connections=server.max_connections, max_keepalive_connections=server.max_connections)
        timeout = httpx2.Timeout(server.timeout, connect=server.connect_timeout)
        # No redirects, and no proxy for this machine: either would carry pictures to where nobody allowed them to go.
        http = self._openai.DefaultAsyncHttpxClient(
            limits=limits, timeout=timeout, follow_redirects=False, trust_env=not local
        )
        return self._openai.AsyncOpenAI(
            base_url=server.base_url, api_key=self._key or "none", max_retries=0, timeout=timeout, http_client=http
        )  # fmt: skip

    def _status_error(self, response: Any) -> ServerError:
        status, raw = response.status_code, self._clean(response.text)
        trouble = trouble_of_status(status, raw)
        advice = {
            "rate_limit": "; send fewer calls at once",
            "account": f"; check the address, the model {self.model!r} and the key in {self.server.key_variable}",
            "request": "; the request is too large or has a field the server does not take",
        }.get(trouble, "")
        message = f"{self.server.base_url} answered with status {status}{advice}: {shortened(raw, 300)}"
        retry_after = _retry_after(response.headers)
        return ServerError(message, trouble=trouble, status=status, retry_after=retry_after, raw=raw[:_RAW_KEPT])

    def _clean(self, text: str) -> str:
        """Servers repeat a wrong key in their messages; it must not get into a journal."""
        return text.replace(self._key, "[key]") if len(self._key) >= 8 else text


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


def _retry_after(headers: Any) -> float | None:
    """Seconds from `retry-after-ms` or `retry-after`, which is a number or a date."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        return seconds if 0 <= seconds < float("inf") else None
    date = email.utils.parsedate_tz(headers.get("retry-after", ""))
    return None if date is None else max(0.0, email.utils.mktime_tz(date) - time.time())
