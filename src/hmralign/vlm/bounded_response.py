"""A response of a server that is read up to a limit, whatever it says of itself.

A hook of the HTTP client, called before a byte of the body is read. Compressed bodies count as what they become; what a
response says of its characters is ignored, as JSON is UTF-8; a redirect loses its address, so that nothing can follow
it. How long a response may take is bounded by whoever waits for it.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from typing import Any

import httpx2

from hmralign.vlm.errors import ServerError

_COMPRESSED = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""Content encodings that are read although none was asked for -> window bits of zlib."""


class ResponseLimit:
    """The hook: every body longer than `most_bytes` raises `ServerError`."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes

    async def __call__(self, response: httpx2.Response) -> None:
        """Prepare a response for reading."""
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        for name in ("content-encoding", "location"):
            if name in response.headers:
                del response.headers[name]
        response.encoding = "utf-8"
        response.stream = _BoundedStream(response.stream, encoding, self._most_bytes)


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: Any, encoding: str, most_bytes: int) -> None:
        self._stream, self._encoding, self._most_bytes = stream, encoding, most_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = 0
        async for chunk in self._plain():
            read += len(chunk)
            if read > self._most_bytes:
                raise ServerError(
                    f"the server's answer is longer than {self._most_bytes} bytes and was not read to its end",
                    trouble="body",
                )
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def _plain(self) -> AsyncIterator[bytes]:
        if self._encoding in ("", "identity"):
            async for chunk in self._stream:
                yield chunk
            return
        if self._encoding not in _COMPRESSED:
            message = f"the server compressed its answer as {self._encoding[:40]!r}, which was not asked for"
            raise ServerError(message, trouble="body")
        decoder = zlib.decompressobj(_COMPRESSED[self._encoding])
        async for chunk in self._stream:
            while chunk:
                try:
                    yield decoder.decompress(chunk, self._most_bytes + 1)
                except zlib.error as error:
                    message = f"the server's answer cannot be unpacked: {error}"
                    raise ServerError(message, trouble="body") from None
                chunk = decoder.unconsumed_tail
