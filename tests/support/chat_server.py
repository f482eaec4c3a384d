"""A server of chat completions on a real socket, which judges pictures by their bytes and fails on demand.

The score of a picture is a number made from its bytes, so a test knows the only right answer, and an answer to another
picture, or in another order, is seen.
"""

import base64
import contextlib
import hashlib
import io
import json
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from hmralign.vlm.chat import ChatReply, ChatRequest, ImagePart, TextPart
from hmralign.vlm.structured import integer, printable, record, structured_answer

KEY = "sk-a-key-that-must-not-be-kept"


def true_score(picture: bytes) -> int:
    return int(hashlib.sha256(picture).hexdigest(), 16) % 101


def picture(number: int) -> bytes:
    from PIL import Image

    image = Image.new("RGB", (64, 64), (number * 37 % 256, number * 91 % 256, number * 151 % 256))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    return buffer.getvalue()


def sheet_schema(labels) -> dict:
    return record({label: record({"comment": printable(60), "score": integer(0, 100)}) for label in labels})


def judge_request(first: int = 0, labels="ABC", **changes) -> ChatRequest:
    """A request for scores of pictures `first`, `first + 1`, ..."""
    parts = [p for i, label in enumerate(labels) for p in (TextPart(f"{label}:"), ImagePart(picture(first + i)))]
    fields = {"system": "Judge.", "parts": tuple(parts), "schema": sheet_schema(labels), "max_tokens": 300} | changes
    return ChatRequest(**fields)


def true_scores(first: int = 0, labels="ABC") -> dict[str, int]:
    return {label: true_score(picture(first + i)) for i, label in enumerate(labels)}


def read_scores(labels="ABC") -> Callable[[ChatReply], dict[str, int]]:
    """The parser of a question made from `judge_request`."""

    def parse(reply: ChatReply) -> dict[str, int]:
        sheet = structured_answer(reply, sheet_schema(labels))
        return {label: entry["score"] for label, entry in sheet.items()}

    return parse


@dataclass
class ChatServer:
    """`faults` names what goes wrong with each request in turn (None for nothing), then `always`."""

    faults: list[str | None] = field(default_factory=list)
    always: str | None = None
    delay: float = 0.0
    requests: list[dict] = field(default_factory=list)
    headers: list[dict] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    connections: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    released: threading.Event = field(default_factory=threading.Event)
    first_pictures: list[bytes] = field(default_factory=list)

    def __enter__(self):
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with owner.lock:
                    number = len(owner.requests)
                    owner.requests.append(body)
                    owner.headers.append({name.lower(): value for name, value in self.headers.items()})
                    owner.in_flight += 1
                    owner.most_in_flight = max(owner.most_in_flight, owner.in_flight)
                try:
                    fault = owner.faults[number] if number < len(owner.faults) else owner.always
                    owner.released.wait(owner.delay)
                    with contextlib.suppress(OSError):
                        owner.answer(self, body, fault)
                finally:
                    with owner.lock:
                        owner.in_flight -= 1

            def do_GET(self):
                send(self, {}, 200)

            def log_message(self, *args):
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 64
            daemon_threads = True

            def process_request(self, request, client_address):
                with owner.lock:
                    owner.connections += 1
                    super().process_request(request, client_address)

            def shutdown_request(self, request):
                super().shutdown_request(request)
                with owner.lock:
                    owner.connections -= 1

            def handle_error(self, request, client_address):
                pass  # a client that was killed

        self.server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def settled(self) -> int:
        """Requests of clients that have ended, also those that such a client sent and nobody had read when it ended.

        A connection of our own is accepted after all that came before it. Each of those ends once what its client sent
        is read and answered.
        """
        urllib.request.urlopen(self.address, timeout=60).close()
        while self.connections:
            time.sleep(0.005)
        return len(self.requests)

    def answer(self, handler, body, fault):
        if fault == "rate_limit":
            return send(handler, {"error": {"message": "slow down"}}, 429, {"Retry-After": "0.05"})
        if fault == "busy":
            return send(handler, {"error": {"message": "slow down"}}, 429)
        if fault == "long_wait":
            return send(handler, {"error": {"message": "come back tomorrow"}}, 429, {"Retry-After": "86400"})
        if fault == "quota":
            return send(handler, {"error": {"code": "insufficient_quota"}}, 429)
        if fault == "crash":
            return send(handler, {"error": {"message": "internal"}}, 500)
        if fault == "unauthorised":
            said = handler.headers.get("Authorization", "")
            return send(handler, {"error": {"message": f"wrong key: {said}"}}, 401)
        if fault == "too_large":
            return send(handler, {"error": {"message": "too many pictures"}}, 400)
        if fault == "redirect":
            return send(handler, {}, 307, {"Location": "http://192.0.2.1/v1/chat/completions"})
        if fault == "hang":
            return self.released.wait(20)
        if fault == "half_body":
            return send(handler, completion(self.sheet(body)), 200, cut=True)
        if fault == "garbage":
            return send(handler, b"\x00\xff<html>oops", 200)
        if fault == "no_choices":
            return send(handler, {"object": "error", "message": "out of memory"}, 200)
        return send(handler, self.completion(body, fault), 200)

    def completion(self, body, fault):
        sheet = self.sheet(body)
        labels = list(sheet)
        if fault == "whitespace":
            return completion("{" + " \n" * 400, finish="length")
        if fault == "cut":
            return completion(json.dumps(sheet)[:-9], finish="length")
        if fault == "cut_after_all":
            return completion(json.dumps(sheet) + " " * 400, finish="length")
        if fault == "missing_label":
            del sheet[labels[-1]]
        if fault == "foreign_label":
            sheet["Z"] = sheet[labels[0]]
        if fault == "out_of_range":
            sheet[labels[0]]["score"] = 250
        if fault == "score_as_text":
            sheet[labels[0]]["score"] = "80"
        if fault == "no_score":
            del sheet[labels[0]]["score"]
        if fault == "wrong_order":
            sheet = {label: sheet[label] for label in reversed(labels)}
        text = json.dumps(sheet)
        if fault == "duplicate_label":
            text = text[:-1] + f', "{labels[0]}": {{"comment": "again", "score": 1}}}}'
        if fault == "prose":
            return completion("I think that A is best, perhaps 80 out of 100.")
        if fault == "fenced":
            return completion(f"<think>\nA {{or}} B?\n</think>\nHere it is:\n```json\n{text}\n```\n")
        if fault == "control_characters":
            return completion(text.replace("fits", "fi\tts\n"))
        if fault == "two_answers":
            return completion(text + "\n" + json.dumps(sheet | {labels[0]: {"comment": "", "score": 0}}))
        if fault == "empty":
            return completion("")
        if fault == "reasoning":
            return completion("", reasoning_content=text)
        if fault == "refusal":
            return completion(None, refusal="I cannot judge people.")
        if fault == "filtered":
            return completion("", finish="content_filter")
        if fault == "few_tokens":
            return completion(text, prompt_tokens=7)
        if fault == "no_usage":
            return {k: v for k, v in completion(text).items() if k != "usage"}
        assert fault in (None, "wrong_order", "stale", *SHEET_FAULTS), fault
        return completion(text)

    def sheet(self, body):
        shown = pictures(body)
        self.first_pictures = self.first_pictures or shown
        judged = self.first_pictures if self.always == "stale" else shown
        labels = body["response_format"]["json_schema"]["schema"]["properties"]
        return {
            label: {"comment": "fits well", "score": true_score(p)} for label, p in zip(labels, judged, strict=True)
        }


SHEET_FAULTS = ("missing_label", "foreign_label", "out_of_range", "score_as_text", "no_score", "duplicate_label")


def pictures(body) -> list[bytes]:
    content = body["messages"][-1]["content"]
    return [base64.b64decode(p["image_url"]["url"].split(",")[1]) for p in content if p["type"] == "image_url"]


def completion(text, finish="stop", prompt_tokens=900, **message):
    message = {"role": "assistant", "content": text, **message}
    return {
        "object": "chat.completion", "model": "stub", "system_fingerprint": "stub-1",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {
            "prompt_tokens": prompt_tokens, "completion_tokens": 50, "prompt_tokens_details": {"cached_tokens": 100},
        },
    }  # fmt: skip


def send(handler, body, status, headers=None, cut=False):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(data)))
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(data[: len(data) // 2] if cut else data)
    if cut:
        handler.close_connection = True
