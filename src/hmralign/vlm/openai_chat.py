"""Any server that speaks the chat completions of OpenAI: vLLM, SGLang, llama-server, Ollama, LM Studio, hosted ones.

Only fields that all of them take are sent; what one server alone knows goes into `ChatRequest.extra`. The client sends
each request once: retries belong to `asking`, where each attempt is in the journal. Whatever comes back, or does not,
ends in a reply or in a `ServerError`: answers are read up to a limit of bytes and of time, redirects are not followed.
"""

from __future__ import annotations

import asyncio
import email.utils
import os
import re
import ssl
import time
import urllib.request
from dataclasses import dataclass
from typing import Any

from hmralign.structures.errors import InputError
from hmralign.vlm.api_key import ApiKey
from hmralign.vlm.chat import ChatReply, ChatRequest, LimitField
from hmralign.vlm.completion import read_completion
from hmralign.vlm.errors import ServerError, ServerTrouble, shortened
from hmralign.vlm.request_body import PictureField, SchemaField, request_body
from hmralign.vlm.server_address import check_address, host_of, is_loopback
from hmralign.vlm.server_errors import trouble_of_status

MOST_ANSWER_BYTES = 8 << 20
"""Longest body that is read, unpacked: a thousand times the longest answer that is asked for."""
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
    """Name of the field for the longest answer; the newest models of OpenAI take only `max_completion_tokens`."""
    most_answer_bytes: int = MOST_ANSWER_BYTES
    """A body that is longer is no answer, bytes."""

    def __post_init__(self) -> None:
        """Raise InputError for an address that is none and limits that let nothing through, `RemoteRefused` for another
        machine without leave."""
        check_address(self.base_url, allow_remote=self.allow_remote)
        for name in ("timeout", "connect_timeout", "max_connections", "most_answer_bytes"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InputError(f"{name} of the server is {getattr(self, name)}; expected a number above 0")

    @property
    def is_here(self) -> bool:
        """Whether it runs on this machine."""
        return is_loopback(host_of(self.base_url))


class OpenAIChat:
    """A `ChatBackend`. Raises InputError where the extra `vlm` is not installed, and for a key that can be none."""

    def __init__(self, server: OpenAIServer) -> None:
        try:
            import openai
        except ImportError as error:
            raise InputError("the package openai is missing; install hmralign[vlm]") from error
        self._openai: Any = openai
        self.server = server
        self._key = ApiKey(server.key_variable)
        self._client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def model(self) -> str:
        """As the server calls it."""
        return self.server.model

    @property
    def limit_field(self) -> LimitField:
        """Under which the longest answer is sent."""
        return self.server.limit_field

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer once. Raises `ServerError` where no completion came."""
        headers, raw = await self._exchange(request)
        try:
            return read_completion(self._key.masked(raw))
        except ServerError as error:
            advice = "" if error.status is None else self._advice(error.trouble)
            raise ServerError(
                f"{self.server.base_url} answered with status 200, but {error}{advice}", trouble=error.trouble,
                status=error.status, retry_after=_retry_after(headers), raw=error.raw,
            ) from None  # fmt: skip

    async def _exchange(self, request: ChatRequest) -> tuple[Any, str]:
        """Headers and body of an answer with a status of success. Raises `ServerError`."""
        import httpx2

        openai, server = self._openai, self.server
        send = self._of_this_loop().chat.completions.with_raw_response.create
        try:
            response = (await asyncio.wait_for(send(**self.body(request)), server.timeout)).http_response
            return response.headers, response.text
        except openai.APIStatusError as error:
            raise self._status_error(error.response) from None
        except (openai.APIConnectionError, asyncio.TimeoutError) as error:  # the first holds the timeouts of the SDK
            cause = error if isinstance(error, asyncio.TimeoutError) else error.__cause__ or error
            if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError):
                late = isinstance(cause, httpx2.ConnectTimeout)
                reason = f"none within {server.connect_timeout:g} s" if late else self._key.masked(_reason(cause))
                message = f"no connection to {server.base_url}{self._through}: {reason}"
                raise ServerError(message, trouble="unreachable") from None
            if isinstance(cause, asyncio.TimeoutError | httpx2.TimeoutException):
                message = f"no answer of {server.base_url} within {server.timeout:g} s"
                raise ServerError(message, trouble="timeout") from None
            message = f"no connection to {server.base_url}: {self._key.masked(str(cause)) or type(cause).__name__}"
            raise ServerError(message, trouble="connection") from None
        except (httpx2.HTTPError, httpx2.StreamError, openai.OpenAIError) as error:
            message = f"the answer of {server.base_url} cannot be read: {self._key.masked(str(error))}"
            raise ServerError(message, trouble="connection") from None

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
        """Raises InputError for a proxy of the environment, or an address, that cannot be used."""
        import httpx2

        from hmralign.vlm.bounded_response import ResponseLimit

        server = self.server
        limits = httpx2.Limits(max_connections=server.max_connections, max_keepalive_connections=server.max_connections)
        timeout = httpx2.Timeout(server.timeout, connect=server.connect_timeout)
        hooks = {"response": [ResponseLimit(server.most_answer_bytes)]}
        try:
            # No redirects, and no proxy for this machine: either would carry pictures to where nobody allowed them to
            # go.
            http = self._openai.DefaultAsyncHttpxClient(
                limits=limits, timeout=timeout, follow_redirects=False, trust_env=not server.is_here,
                headers={"Accept-Encoding": "identity"}, event_hooks=hooks,
            )  # fmt: skip
        except (ValueError, ImportError, httpx2.InvalidURL) as error:
            raise InputError(
                f"the proxy that the environment names ({_PROXIES}) cannot be used: {_without_addresses(str(error))}"
            ) from None
        try:
            return self._openai.AsyncOpenAI(
                base_url=server.base_url, api_key=self._key.header_value, max_retries=0, timeout=timeout,
                http_client=http,
            )  # fmt: skip
        except (ValueError, httpx2.InvalidURL) as error:
            raise InputError(f"{shortened(server.base_url)!r} is no address of a server: {error}") from None

    @property
    def _through(self) -> str:
        """Whether the environment puts a proxy between, for messages; its address may hold a password."""
        if self.server.is_here or not urllib.request.getproxies():
            return ""
        return f" (the environment names a proxy, {_PROXIES}, which is used for other machines)"

    def _status_error(self, response: Any) -> ServerError:
        status, raw = response.status_code, self._key.masked(response.text)
        trouble = trouble_of_status(status, raw)
        advice = self._advice(trouble)
        if 300 <= status < 400:
            advice = (
                "; it sends to another address, and nothing is sent after it, since photos would go along: give the "
            )
            advice += "final address"
        message = f"{self.server.base_url} answered with status {status}{advice}: {shortened(raw, 300)}"
        retry_after = _retry_after(response.headers)
        return ServerError(message, trouble=trouble, status=status, retry_after=retry_after, raw=raw[:_RAW_KEPT])

    def _advice(self, trouble: ServerTrouble) -> str:
        """What to do about it, with a semicolon before."""
        account = f"; check the address, the model {self.model!r} and the key in {self.server.key_variable}"
        request = "; the request is too large or has a field the server does not take"
        if self.server.limit_field == "max_tokens":
            request += " (some take the limit of an answer as max_completion_tokens alone)"
        return {"rate_limit": "; send fewer calls at once", "account": account, "request": request}.get(trouble, "")


def _reason(error: BaseException) -> str:
    """What the system says of a connection that was not made, which libraries wrap."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, ssl.SSLError):  # its numbers are not the system's
            return str(inner)
        if isinstance(inner, OSError) and inner.errno is not None:
            return os.strerror(inner.errno) if inner.errno > 0 else str(inner.strerror)
        inner = inner.__cause__ or inner.__context__
    return str(error)


_PROXIES = "HTTP_PROXY, HTTPS_PROXY, ALL_PROXY"


def _without_addresses(text: str) -> str:
    """A proxy's address may hold a password."""
    return re.sub(r"\S*(://|@)\S*", "[address]", text)


def _retry_after(headers: Any) -> float | None:
    """Seconds from `retry-after-ms` or `retry-after`, which is a number or a date; None for anything else."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        return seconds if 0 <= seconds < float("inf") else None
    try:
        date = email.utils.parsedate_tz(headers.get("retry-after", ""))
        return None if date is None else max(0.0, email.utils.mktime_tz(date) - time.time())
    except (ValueError, OverflowError, TypeError, IndexError):  # dates that no calendar has
        return None
