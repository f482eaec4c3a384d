"""Speaks to `mediapipe_worker`, a process inside the detector environment.  The protocol is described there."""

from __future__ import annotations

import atexit
import json
import logging
import os
import struct
import subprocess
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, Queue
from typing import IO, Any, Literal

import numpy as np
from jaxtyping import Float32, UInt8

from hmralign.detection.process_lock import ProcessLock
from hmralign.storage.json_file import HEADER, parse_json
from hmralign.structures import HmralignError

logger = logging.getLogger("hmralign.detection")

WORKER = Path(__file__).with_name("mediapipe_worker.py")

Network = Literal["full", "heavy"]
"""Weights of the landmark network: those of the library's wheel, and larger ones that are added to it."""

_PAYLOAD_LIMIT = 2**30
_PIECE = 2**20


class DetectorError(HmralignError):
    """The detector process died repeatedly, did not answer in time, or refused a request."""


class _WorkerGone(Exception):
    """The process ended or closed its pipe."""


@dataclass(frozen=True)
class PersonCandidates:
    """What the person detector saw in a list of tiles, in image pixels.

    `points` are the middle of the hips, a point on the circle around the whole body, the middle of the shoulders, and
    a point on the circle around the upper body.
    """

    tile: Float32[np.ndarray, " n"]
    score: Float32[np.ndarray, " n"]
    box: Float32[np.ndarray, "n 4"]
    points: Float32[np.ndarray, "n 4 2"]


@dataclass(frozen=True)
class RegionLandmarks:
    """What the landmark network saw in a list of regions, in image pixels.

    `landmarks` holds x, y, z (pixels), visibility, presence of 33 landmarks and the two alignment points; `world`
    metres about the middle of the hips, image axes; `mask` the person's alpha (0-255) in the frame of the region.
    """

    score: Float32[np.ndarray, " n"]
    landmarks: Float32[np.ndarray, "n 35 5"]
    world: Float32[np.ndarray, "n 33 3"]
    mask: UInt8[np.ndarray, "n side side"]


class MediapipeClient:
    """A lazily started detector process, which any number of threads may ask.

    One request is answered at a time, and each names its image: what one thread looks at is nothing to another.
    Requests are numbered, and a reply to another one is never taken. A forked process leaves the process of its parent
    alone and starts one of its own; so does a copy, as by pickling.

    A process that dies is restarted once per request, with the image sent again; a second death raises `DetectorError`,
    and so does a request that takes longer than `timeout` seconds.
    """

    def __init__(self, python: Path, *, worker: Path = WORKER, timeout: float = 120.0):
        self._command = [str(python), "-I", str(worker)]
        self._timeout = timeout
        self._lock = ProcessLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._started_by = 0
        """Id of the Python process that the detector process belongs to."""
        self._sent_image: np.ndarray | None = None
        self._number = 0
        # A weak reference, so that the exit hook does not keep the object alive.
        weak = weakref.ref(self)
        self._exit_hook = lambda: (client := weak()) is not None and client._end(at_once=True)
        atexit.register(self._exit_hook)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(MediapipeClient, worker=Path(self._command[-1]), timeout=self._timeout), (
            Path(self._command[0]),
        )

    def __enter__(self) -> MediapipeClient:
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    @property
    def versions(self) -> dict[str, str]:
        """Versions of the libraries in the detector environment."""
        return self._request({"op": "hello"})[0]["versions"]

    @property
    def process_id(self) -> int | None:
        """Id of the running process, or None; that of a parent does not count."""
        process = self._process
        return process.pid if process is not None and self._started_by == os.getpid() else None

    def detect(
        self,
        image: UInt8[np.ndarray, "height width 3"],
        tiles: Sequence[Sequence[float]],
        *,
        min_score: float = 0.5,
    ) -> PersonCandidates:
        """Run the person detector on tiles (x0, y0, x1, y1) of an RGB image; outside the image they are cut."""
        _, arrays = self._request(
            {"op": "detect", "tiles": [[float(v) for v in t] for t in tiles], "min_score": float(min_score)}, image
        )
        return PersonCandidates(**arrays)

    def landmarks(
        self,
        image: UInt8[np.ndarray, "height width 3"],
        regions: Sequence[Sequence[float]],
        *,
        mask_size: int = 128,
        network: Network = "full",
    ) -> RegionLandmarks:
        """Run a landmark network on squares (centre x, centre y, side, angle) of an RGB image.

        The angle in radians turns the person upright, clockwise in the image; `mask_size` 0 leaves the masks empty.
        "heavy" needs its file in the environment (`heavy_network`).
        """
        request = {"op": "landmarks", "mask_size": int(mask_size), "network": network}
        _, arrays = self._request({**request, "regions": [[float(v) for v in r] for r in regions]}, image)
        return RegionLandmarks(**arrays)

    def close(self) -> None:
        """End the process, once the request that it answers is done; the next request starts a new one."""
        with self._lock.held():
            self._end()

    def _end(self, *, at_once: bool = False) -> None:
        """End the process: as soon as it sees the end of its input, or with a kill."""
        process, self._process = self._process, None
        self._sent_image = None
        if process is None:
            return
        if self._started_by != os.getpid():
            # The parent's process: its pipes are unbuffered, so that closing our copies writes nothing into them.
            process.returncode = 0  # or Python would complain that nobody waited for it
            _close_pipes(process)
            return
        if at_once:
            process.kill()
        else:
            _say_goodbye(process)
        _close_pipes(process)
        try:
            process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _request(self, header: dict, image: np.ndarray | None = None) -> tuple[dict, dict[str, np.ndarray]]:
        """The reply to one request; nothing else is sent or read meanwhile, and `image` is what it is about."""
        with self._lock.held():
            for attempt in (1, 2):
                try:
                    self._start()
                    if image is not None:
                        self._show(image)
                    return self._exchange(header, b"")
                except _WorkerGone as gone:
                    self._end()
                    if attempt == 2:
                        raise DetectorError(f"the detector process ended twice during '{header['op']}'") from gone
                    logger.warning("the detector process ended during '%s' and is started again", header["op"])
        raise AssertionError("not reached")

    def _start(self) -> None:
        if self._process is not None and self._started_by == os.getpid() and self._process.poll() is None:
            return
        self._end()
        # Our own thread settings and Python paths must not leak into the other environment.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        self._started_by = os.getpid()
        try:
            self._process = subprocess.Popen(
                self._command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
            )
        except OSError as error:
            raise DetectorError(f"the detector's Python '{self._command[0]}' cannot be started: {error}") from error

    def _show(self, image: np.ndarray) -> None:
        """Send an image, unless the process has this very one."""
        if self._sent_image is not None and np.array_equal(self._sent_image, image):
            return
        self._sent_image = None
        kept = np.array(image, order="C")  # a copy: the caller may paint over his
        height, width = kept.shape[:2]
        self._exchange({"op": "image", "height": height, "width": width}, kept.tobytes())
        self._sent_image = kept

    def _exchange(self, header: dict, payload: bytes) -> tuple[dict, dict[str, np.ndarray]]:
        """Send one message and wait for its reply, in a thread so that a hanging process cannot hang us."""
        process = self._process
        assert process is not None
        self._number += 1
        numbered = {**header, "number": self._number}
        answer: Queue = Queue()
        threading.Thread(target=_talk, args=(process, numbered, payload, answer), daemon=True).start()
        try:
            reply = answer.get(timeout=self._timeout)
        except Empty:
            self._end(at_once=True)
            raise DetectorError(f"the detector did not answer '{header['op']}' in {self._timeout:g} s") from None
        except BaseException:  # Ctrl-C: the reply is still to come, and nobody will read it
            self._end(at_once=True)
            raise
        if isinstance(reply, Exception):
            raise reply
        reply_header, reply_payload = reply
        if "error" in reply_header:
            raise DetectorError(f"the detector refused '{header['op']}': {reply_header['error']}")
        return reply_header, _arrays(reply_header.get("arrays", []), reply_payload)


def _say_goodbye(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to end, as it sees no end of its input where a forked process has the pipe open too."""
    try:
        assert process.stdin is not None
        _write_message(process.stdin, {"op": "exit"}, b"")
    except (OSError, ValueError):
        pass  # it is gone already


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:
                pass  # the other end is gone already


def _talk(process: subprocess.Popen[bytes], header: dict, payload: bytes, answer: Queue) -> None:
    """Write a request and put the reply, or the exception that ended it, into `answer`."""
    try:
        assert process.stdin is not None and process.stdout is not None
        _write_message(process.stdin, header, payload)
        header_length, payload_length = struct.unpack("<II", _read_exactly(process.stdout, 8))
        if header_length > HEADER.max_bytes or payload_length > _PAYLOAD_LIMIT:
            raise _WorkerGone("the reply is no message of the protocol")
        reply = parse_json(_read_exactly(process.stdout, header_length), HEADER)
        if not isinstance(reply, dict) or reply.get("number") != header["number"]:
            raise _WorkerGone("the reply is to another request")
        answer.put((reply, _read_exactly(process.stdout, payload_length)))
    except (OSError, ValueError, _WorkerGone) as error:
        answer.put(_WorkerGone(str(error)))


def _write_message(pipe: IO[bytes], header: dict, payload: bytes) -> None:
    """Write all of a message; an unbuffered pipe may take it in pieces."""
    text = json.dumps(header).encode()
    rest = memoryview(struct.pack("<II", len(text), len(payload)) + text + payload)
    while rest:
        rest = rest[pipe.write(rest) :]


def _read_exactly(pipe: IO[bytes], count: int) -> bytes:
    """Read `count` bytes; an unbuffered pipe may give them in pieces."""
    data = bytearray()
    while len(data) < count:
        part = pipe.read(min(count - len(data), _PIECE))
        if not part:
            raise _WorkerGone("the pipe was closed")
        data += part
    return bytes(data)


def _arrays(layout: list, payload: bytes) -> dict[str, np.ndarray]:
    """Cut a payload into the arrays that its header lists."""
    arrays, offset = {}, 0
    for name, dtype, shape in layout:
        count = int(np.prod(shape, dtype=np.int64))
        arrays[name] = np.frombuffer(payload, np.dtype(dtype), count, offset).reshape(shape)
        offset += count * np.dtype(dtype).itemsize
    return arrays
