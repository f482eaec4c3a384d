"""Recovery over repeated photos with bad files among them: memory and handles stay, every good photo is answered.

    python benchmarks/soak/recover_soak.py --minutes 60 [--detector mediapipe] [--pictures] [--by-call]

Every third file is bad in one of many ways: cut off, empty, text, a bomb of pixels, a wrong header, a folder, gone.
The good ones are a drawn scene of one person, recovered with its keypoints, or found where a detector is named. Each
cycle is `hmralign recover` of the folder of these files, in this process; with --by-call it is a call of one recoverer
for each file. Memory, handles and threads are looked at after every cycle. Results:
docs/results/soak_recover.{json,md}.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import json
import shutil
import statistics
import struct
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from hmralign import Recoverer
from hmralign.body.free_body import load_free_body
from hmralign.cli.main import main as hmralign
from hmralign.storage.whole_file import write_json, write_whole
from hmralign.structures import InputError
from hmralign.systems.recover.demo_scene import demo_scene

RESULTS = Path(__file__).parents[2] / "docs" / "results"
MOST_GROWTH = 0.03
"""Growth of memory from the second quarter of the run to the last that passes for none."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--detector", default="none")
    parser.add_argument("--pictures", action="store_true")
    parser.add_argument("--by-call", action="store_true")
    parser.add_argument("--hypotheses", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        document = soak(Path(place), args)
    write_json(args.out / "soak_recover.json", document)
    write_whole(args.out / "soak_recover.md", markdown(document))
    print(markdown(document))
    faults = [words for words, wrong in document["faults"].items() if wrong]
    if faults:
        raise SystemExit(f"failed: {', '.join(faults)}")


def soak(place: Path, args: argparse.Namespace) -> dict:
    files, keypoints = written_files(place / "files")
    counts, reasons = Counter[str](), Counter[str]()
    megabytes, handles, threads = [], [], []
    started = time.monotonic()
    cycle = calls if args.by_call else command
    with cycle(place, files, keypoints, args) as once:
        while len(megabytes) < 4 or time.monotonic() - started < 60 * args.minutes:
            for name, people, reason in once():
                good = dict((path.name, good) for path, good in files)[name]
                counts[f"{'good' if good else 'bad'} {'refused' if reason else 'answered'}"] += 1
                counts["people"] += people
                if reason:
                    reasons[f"{name}: {reason.replace(str(place), '')[:100]}"] += 1
            shutil.rmtree(place / "out", ignore_errors=True)
            gc.collect()
            megabytes.append(resident_megabytes())
            handles.append(len(list(Path("/proc/self/fd").iterdir())))
            threads.append(threading.active_count())
    cycles = len(megabytes)
    quarter = max(1, cycles // 4)
    early, late = statistics.median(megabytes[quarter : 2 * quarter]), statistics.median(megabytes[-quarter:])
    return {
        "minutes": round((time.monotonic() - started) / 60, 2), "detector": args.detector, "pictures": args.pictures,
        "way": "call by call" if args.by_call else "folder", "hypotheses": args.hypotheses, "cycles": cycles,
        "files": len({path for path, _ in files}), **dict(counts), "reasons": dict(reasons),
        "megabytes": {"second_quarter": round(early, 1), "last_quarter": round(late, 1), "most": max(megabytes)},
        "handles": {"second_quarter": handles[quarter], "last": handles[-1]},
        "threads": {"second_quarter": threads[quarter], "last": threads[-1]},
        "faults": {
            "a good photo was not answered": counts["good refused"] > 0,
            "a bad file was answered": counts["bad answered"] > 0,
            "memory grows": late > (1 + MOST_GROWTH) * early,
            "handles leak": handles[-1] > handles[quarter],
            "threads are left": threads[-1] > threads[quarter],
        },
    }  # fmt: skip


Outcome = tuple[str, int, str]
"""Name of a file, its people, and why it was refused; empty where it was not."""


@contextlib.contextmanager
def calls(
    place: Path, files: list[tuple[Path, bool]], keypoints: np.ndarray, args: argparse.Namespace
) -> Iterator[Callable[[], Iterator[Outcome]]]:
    """A cycle through the files with one recoverer."""
    given = {} if args.detector != "none" else {"keypoints": keypoints}

    with Recoverer.load("lite", detector=args.detector, num_hypotheses=args.hypotheses) as recoverer:

        def once() -> Iterator[Outcome]:
            for path, _ in files:
                try:
                    people = recoverer(path, **given)
                    people.save(place / "out", pictures=args.pictures, report=args.pictures, overwrite=True)
                    yield path.name, len(people), ""
                except InputError as error:
                    yield path.name, 0, str(error)

        yield once


@contextlib.contextmanager
def command(
    place: Path, files: list[tuple[Path, bool]], keypoints: np.ndarray, args: argparse.Namespace
) -> Iterator[Callable[[], Iterator[Outcome]]]:
    """A cycle through the folder by the command; what is no file of it, a folder or gone, it does not see."""
    seen = [path for path, _ in files if path.is_file()]
    options = ["--out", str(place / "out"), "--num-hypotheses", str(args.hypotheses), "--json"]
    options += ["--detector", args.detector, *([] if args.pictures else ["--no-pictures"])]
    if args.detector == "none":
        points = keypoints[0, :17].flatten().tolist()  # those of COCO
        write_json(place / "points.json", [{"image_id": path.name, "keypoints": points, "score": 1.0} for path in seen])
        options += ["--keypoints", str(place / "points.json")]

    def once() -> Iterator[Outcome]:
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
            hmralign(["recover", str(place / "files"), *options])
        document = json.loads(said.getvalue())
        yield from ((Path(p["file"]).name, len(p["people"]), "") for p in document["photos"])
        yield from ((Path(f["file"]).name, 0, f["error"]) for f in document["failures"])

    yield once


def written_files(folder: Path) -> tuple[list[tuple[Path, bool]], np.ndarray]:
    """Files of both kinds, mixed, and the keypoints of the good ones' people."""
    folder.mkdir()
    scene = demo_scene(load_free_body("3k5"))
    good = folder / "good.jpg"
    Image.fromarray(scene.rgb).save(good, quality=92)
    content = good.read_bytes()
    bad = {
        "cut_off.jpg": content[: len(content) // 3], "empty.jpg": b"", "text.png": b"no picture at all\n" * 50,
        "header_only.jpg": content[:20], "noise.png": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8,
        "bomb.png": pixel_bomb(60_000), "scrambled.jpg": content[:200] + content[200:][::-1],
    }  # fmt: skip
    for name, data in bad.items():
        (folder / name).write_bytes(data)
    (folder / "a_folder.jpg").mkdir()
    wrong = [folder / name for name in (*bad, "a_folder.jpg", "gone.jpg")]
    mixed: list[tuple[Path, bool]] = []
    for number, path in enumerate(wrong):
        copy = folder / f"good_{number}.jpg"
        shutil.copy(good, copy)
        mixed += [(copy, True), (good, True), (path, False)]
    return mixed, scene.keypoints


def pixel_bomb(side: int) -> bytes:
    """A PNG of a few bytes that says it has that many pixels each way."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def resident_megabytes() -> float:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * 4096 / 1e6, 1)


def markdown(d: dict) -> str:
    memory, faults = d["megabytes"], [words for words, wrong in d["faults"].items() if wrong]
    return f"""# Recovery over repeated photos with bad files

{d["minutes"]:g} minutes, {d["cycles"]} times through {d["files"]} files, {d["hypotheses"]} hypotheses a person,
detector: {d["detector"]}, pictures: {"yes" if d["pictures"] else "no"}, {d["way"]}.
Made by `python benchmarks/soak/recover_soak.py --minutes N` and the options that this line names.

| | |
| --- | ---: |
| good photos answered / refused | {d.get("good answered", 0):,} / {d.get("good refused", 0)} |
| bad files refused / answered | {d.get("bad refused", 0):,} / {d.get("bad answered", 0)} |
| MB in the second and the last quarter | {memory["second_quarter"]:,.0f}, {memory["last_quarter"]:,.0f} |
| open handles, second quarter and end | {d["handles"]["second_quarter"]}, {d["handles"]["last"]} |
| threads of Python, second quarter and end | {d["threads"]["second_quarter"]}, {d["threads"]["last"]} |

{"Failed: " + ", ".join(faults) if faults else "Nothing failed."}
"""


if __name__ == "__main__":
    main()
