"""A vision-language model on a real socket that describes poses: it looks whether the picture is mirrored."""

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import numpy as np
from PIL import Image

from hmralign.language.description import mirrored_text
from support.chat_server import completion, pictures, send


@dataclass
class DescribingServer:
    """Says `texts[part]` of a part, as it is called in the picture; `knows_sides` is whether it notices mirror images.

    Parts are told by the words of the question: "the person's left arm". What it has no text for it does not see.
    """

    texts: dict[str, str]
    knows_sides: bool = True
    says: str | None = None
    """Instead of any answer."""
    requests: list[dict] = field(default_factory=list)
    first: np.ndarray | None = None

    def __enter__(self):
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                owner.requests.append(body)
                send(self, completion(owner.answer(body)), 200)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def answer(self, body) -> str:
        if self.says is not None:
            return self.says
        ask = next(p["text"] for p in reversed(body["messages"][-1]["content"]) if "how well" in p.get("text", ""))
        asked = ask.split("how well ")[1].split(" can be seen")[0]
        mirrored = self._is_mirrored(pictures(body)[0]) and self.knows_sides
        text = self.texts.get(mirrored_text(asked) if mirrored else asked, "")
        text = mirrored_text(text) if mirrored else text
        return json.dumps({"seen": "clearly" if text else "no", "description": text})

    def _is_mirrored(self, picture: bytes) -> bool:
        """Against the first picture, which is shown as it is."""
        pixels = np.asarray(Image.open(BytesIO(picture)).convert("L")).astype(int)
        self.first = pixels if self.first is None else self.first
        return np.abs(pixels[:, ::-1] - self.first).mean() < np.abs(pixels - self.first).mean()
