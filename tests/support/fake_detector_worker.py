"""Speaks the detector worker's protocol without any network; misbehaves when asked to.

The first pixel's red value chooses: 0 answer, 1 die on `detect` once (a file remembers), 2 always die, 3 hang, 4 write
nonsense, 5 refuse.
"""

import json
import os
import struct
import sys
import time
from pathlib import Path

STATE = Path(__file__).with_suffix(".state")


def reply(header, payload=b""):
    text = json.dumps(header).encode()
    sys.stdout.buffer.write(struct.pack("<II", len(text), len(payload)) + text + payload)
    sys.stdout.buffer.flush()


mode = 0
while True:
    lengths = sys.stdin.buffer.read(8)
    if len(lengths) < 8:
        sys.exit()
    header_length, payload_length = struct.unpack("<II", lengths)
    header = json.loads(sys.stdin.buffer.read(header_length))
    payload = sys.stdin.buffer.read(payload_length)
    if header["op"] == "image":
        mode = payload[0]
        reply({})
    elif header["op"] == "hello":
        reply({"versions": {"mediapipe": "fake"}})
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
    else:
        shapes = [["tile", "<f4", [1]], ["score", "<f4", [1]], ["box", "<f4", [1, 4]], ["points", "<f4", [1, 4, 2]]]
        reply({"arrays": shapes}, struct.pack("<14f", *range(14)))
