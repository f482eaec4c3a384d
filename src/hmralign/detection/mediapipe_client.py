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
from pathlib import Path
from queue import Empty, Queue

import numpy as np
from jaxtyping import Float32, UInt8

from hmralign.structures import HmralignError

logger = logging.getLogger("hmralign.detection")

WORKER = Path(__file__).with_name("mediapipe_worker.py")

_HEADER_LIMIT = 64 * 2**20
_PAYLOAD_LIMIT = 2**30


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
    """A lazily started detector process.

    A process that dies is restarted once per request, with the current image sent again; a second death raises
    `DetectorError`, and so does a request that takes longer than `timeout` seconds. Not for use by several threads.
    """

    def __init__(self, python: Path, *, worker: Path = WORKER, timeout: float = 120.0):
        self._command = [str(python), "-I", str(worker)]
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._image: np.ndarray | None = None
        self._image_sent = False
        # A weak reference, so that the exit hook does not keep the object alive.
        weak = weakref.ref(self)
        self._exit_hook = lambda: (client := weak()) is not None and client.close()
        atexit.register(self._exit_hook)

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
        """Id of the running process, or None."""
        return self._process.pid if self._process is not None else None

    def set_image(self, image: UInt8[np.ndarray, "height width 3"]) -> None:
        """Choose the RGB image that the following requests look at."""
        self._image = np.ascontiguousarray(image)
        self._image_sent = False

    def detect(self, tiles: Sequence[Sequence[float]], *, min_score: float = 0.5) -> PersonCandidates:
        """Run the person detector on tiles (x0, y0, x1, y1); outside the image they are cut."""
        _, arrays = self._request(
            {"op": "detect", "tiles": [[float(v) for v in t] for t in tiles], "min_score": float(min_score)}
        )
        return PersonCandidates(**arrays)

    def landmarks(self, regions: Sequence[Sequence[float]], *, mask_size: int = 128) -> RegionLandmarks:
        """Run the landmark network on squares (centre x, centre y, side, angle).

        The angle in radians turns the person upright, clockwise in the image; `mask_size` 0 leaves the masks empty.
        """
        regions = [[float(v) for v in r] for r in regions]
        _, arrays = self._request({"op": "landmarks", "regions": regions, "mask_size": int(mask_size)})
        return RegionLandmarks(**arrays)

    def close(self) -> None:
        """End the process; the next request starts a new one."""
        process, self._process = self._process, None
        self._image_sent = False
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    pass  # the other end is gone already
        try:
            process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _request(self, header: dict) -> tuple[dict, dict[str, np.ndarray]]:
        for attempt in (1, 2):
            try:
                self._start()
                if not self._image_sent and self._image is not None and header["op"] != "hello":
                    height, width = self._image.shape[:2]
                    self._exchange({"op": "image", "height": height, "width": width}, self._image.tobytes())
                    self._image_sent = True
                return self._exchange(header, b"")
            except _WorkerGone as gone:
                self.close()
                if attempt == 2:
                    raise DetectorError(f"the detector process ended twice during '{header['op']}'") from gone
                logger.warning("the detector process ended during '%s' and is started again", header["op"])
        raise AssertionError("not reached")

    def _start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        # Our own thread settings and Python paths must not leak into the other environment.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        try:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
            )
        except OSError as error:
            raise DetectorError(f"the detector's Python '{self._command[0]}' cannot be started: {error}") from error

    def _exchange(self, header: dict, payload: bytes) -> tuple[dict, dict[str, np.ndarray]]:
        """Send one message and wait for its reply, in a thread so that a hanging process cannot hang us."""
        process = self._process
        assert process is not None
        answer: Queue = Queue()
        threading.Thread(target=_talk, args=(process, header, payload, answer), daemon=True).start()
        try:
            reply = answer.get(timeout=self._timeout)
        except Empty:
            process.kill()
            self.close()
            raise DetectorError(f"the detector did not answer '{header['op']}' in {self._timeout:g} s") from None
        if isinstance(reply, Exception):
            raise reply
        reply_header, reply_payload = reply
        if "error" in reply_header:
            raise DetectorError(f"the detector refused '{header['op']}': {reply_header['error']}")
        return reply_header, _arrays(reply_header.get("arrays", []), reply_payload)


def _talk(process: subprocess.Popen[bytes], header: dict, payload: bytes, answer: Queue) -> None:
    """Write a request and put the reply, or the exception that ended it, into `answer`."""
    text = json.dumps(header).encode()
    try:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(struct.pack("<II", len(text), len(payload)) + text + payload)
        process.stdin.flush()
        header_length, payload_length = struct.unpack("<II", _read_exactly(process.stdout, 8))
        if header_length > _HEADER_LIMIT or payload_length > _PAYLOAD_LIMIT:
            raise _WorkerGone("the reply is no message of the protocol")
        reply = json.loads(_read_exactly(process.stdout, header_length))
        answer.put((reply, _read_exactly(process.stdout, payload_length)))
    except (OSError, ValueError, _WorkerGone) as error:
        answer.put(_WorkerGone(str(error)))


def _read_exactly(stream, count: int) -> bytes:
    data = stream.read(count)
    if data is None or len(data) != count:
        raise _WorkerGone("the pipe was closed")
    return data


def _arrays(layout: list, payload: bytes) -> dict[str, np.ndarray]:
    """Cut a payload into the arrays that its header lists."""
    arrays, offset = {}, 0
    for name, dtype, shape in layout:
        count = int(np.prod(shape, dtype=np.int64))
        arrays[name] = np.frombuffer(payload, np.dtype(dtype), count, offset).reshape(shape)
        offset += count * np.dtype(dtype).itemsize
    return arrays
