"""A server on a real socket that answers with exactly the bytes it is told, however wrong they are."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterable

from support.chat_server import completion, true_scores

Answer = Callable[[int], Iterable[bytes]]
"""Number of the request, from 0 -> pieces that are sent one after the other, then the connection is closed."""


class RawServer:
    def __init__(self, answer: Answer, port: int = 0) -> None:
        self.answer, self._wanted = answer, port
        self.requests: list[bytes] = []
        self._open: list[socket.socket] = []

    def __enter__(self):
        self._socket = socket.create_server(("127.0.0.1", self._wanted), backlog=64)
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def stop_listening(self):
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def __exit__(self, *_):
        self.stop_listening()
        for connection in self._open:
            connection.close()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with contextlib.suppress(OSError), connection:
            received = b""
            while b"\r\n\r\n" not in received:
                if not (chunk := connection.recv(65536)):
                    return
                received += chunk
            head, _, body = received.partition(b"\r\n\r\n")
            length = next(
                int(h.split(b":")[1]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length:")
            )
            while len(body) < length:
                body += connection.recv(65536)
            number = len(self.requests)
            self.requests.append(head + b"\r\n\r\n" + body)
            for piece in self.answer(number):
                connection.sendall(piece)


def http(body: bytes, *headers: str, status: str = "200 OK", length: bool = True) -> bytes:
    """A response; without `length` it ends where the connection does."""
    lines = [f"HTTP/1.1 {status}", *headers, *([f"Content-Length: {len(body)}"] if length else []), "Connection: close"]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def good_answer() -> bytes:
    """The right answer to `judge_request()`."""
    sheet = {label: {"comment": "fits", "score": score} for label, score in true_scores().items()}
    return http(json.dumps(completion(json.dumps(sheet))).encode())
