"""Speaks the detector worker's protocol without any network; misbehaves when asked to.

The first pixel's red value chooses: 0 answer, 1 die on `detect` once (a file remembers), 2 always die, 3 hang, 4 write
nonsense, 5 refuse, 6 answer as if to another request, 7 find one person.

The red value of the pixel beside it, the image's tag, and the left side of the first tile are added to the numbers of
the answer 0, so that it tells what was asked. The person of 7 is the one of `person.npz` beside this file, moved to the
right by the tag; the heavy network reads the one of `heavy.npz`.
"""

import json
import os
import struct
import sys
import time
from pathlib import Path

STATE = Path(__file__).with_suffix(".state")


def reply(answer, payload=b"", ahead=0):
    text = json.dumps({**answer, "number": header["number"] + ahead}).encode()
    sys.stdout.buffer.write(struct.pack("<II", len(text), len(payload)) + text + payload)
    sys.stdout.buffer.flush()


def reply_arrays(arrays):
    layout = [[name, "|u1" if name == "mask" else "<f4", list(array.shape)] for name, array in arrays.items()]
    reply({"arrays": layout}, b"".join(array.tobytes() for array in arrays.values()))


def person():
    """Landmarks, metric landmarks, mask and region of the person, where the tag puts it."""
    import numpy as np

    name = "heavy.npz" if header.get("network") == "heavy" else "person.npz"
    with np.load(Path(__file__).with_name(name)) as stored:
        landmarks, world, alpha = (stored[name] for name in ("landmarks", "world", "alpha"))
    landmarks[:, 0] += tag
    return np, landmarks, world, alpha


def detect_person():
    np, landmarks, _, _ = person()
    points = landmarks[None, [33, 34, 33, 34], :2]
    reply_arrays(
        {
            "tile": np.zeros(1, "<f4"),
            "score": np.full(1, 0.9, "<f4"),
            "box": np.concatenate([landmarks[:, :2].min(0), landmarks[:, :2].max(0)])[None],
            "points": points,
        }
    )


def read_person():
    np, landmarks, world, alpha = person()
    count, side = len(header["regions"]), header["mask_size"]
    mask = np.repeat(alpha[None], count, 0) if side else np.zeros((count, 0, 0), "u1")
    reply_arrays(
        {
            "score": np.ones(count, "<f4"),
            "landmarks": np.repeat(landmarks[None], count, 0),
            "world": np.repeat(world[None], count, 0),
            "mask": mask,
        }
    )


mode = tag = 0
while True:
    lengths = sys.stdin.buffer.read(8)
    if len(lengths) < 8:
        sys.exit()
    header_length, payload_length = struct.unpack("<II", lengths)
    header = json.loads(sys.stdin.buffer.read(header_length))
    payload = sys.stdin.buffer.read(payload_length)
    if header["op"] == "image":
        mode, tag = payload[0], payload[3]
        reply({})
    elif header["op"] == "hello":
        reply({"versions": {"mediapipe": "fake"}})
    elif header["op"] == "exit":
        sys.exit()
    elif mode == 2 or (mode == 1 and not STATE.exists()):
        STATE.touch()
        os._exit(3)
    elif mode == 3:
        time.sleep(60)
    elif mode == 4:
        sys.stdout.buffer.write(b"WARNING: a library talks to stdout\n" * 9)
        sys.stdout.buffer.flush()
    elif mode == 5:
        reply({"error": "ValueError: no"})
    elif mode == 7:
        detect_person() if header["op"] == "detect" else read_person()
    else:
        shapes = [["tile", "<f4", [1]], ["score", "<f4", [1]], ["box", "<f4", [1, 4]], ["points", "<f4", [1, 4, 2]]]
        start = tag + int(header["tiles"][0][0])
        reply({"arrays": shapes}, struct.pack("<14f", *range(start, start + 14)), ahead=mode == 6)
