"""Groups under random SIGKILLs: workers and collectors die at any moment, stores end as the undisturbed one.

    python benchmarks/soak/groups_soak.py --minutes 60

Rounds until the time is up: three workers at a time make random shares of a store (of the same N or of others, some
twice at once), each is killed after a random moment or comes through; then collectors are killed until one comes
through. The store has to hold the same bytes as that of one process. Results: docs/results/soak_groups.{json,md}.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import resource
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

from hmralign.body.free_body import load_free_body
from hmralign.data.shards import write_index, write_shard
from hmralign.data.synthetic.generator import Generator
from hmralign.data.synthetic.observation_noise import load_measured_noise
from hmralign.data.synthetic.pose_prior import load_pose_prior
from hmralign.data.synthetic.poses import PoseSource
from hmralign.engines.parts import FOLDER
from hmralign.engines.share import Share
from hmralign.engines.work import make_share
from hmralign.models.checkpoint import checkpoint_hash, trained_on
from hmralign.policies.lite import LitePolicy
from hmralign.preferences.build import GroupStoreConfig, build_groups
from hmralign.preferences.person_source import ShardSource
from hmralign.preferences.store import GroupStore
from hmralign.preferences.workers import GroupUnits
from hmralign.storage.seeds import seeded
from hmralign.storage.whole_file import write_json, write_whole

RESULTS = Path(__file__).parents[2] / "docs" / "results"
PERSONS, PER_SHARD, GROUP = 48, 4, 8
CRITICS = ("reprojection", "random")
WORKERS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        document = soak(Path(place), args.minutes, args.seed)
    write_json(args.out / "soak_groups.json", document)
    write_whole(args.out / "soak_groups.md", markdown(document))
    print(markdown(document))
    if document["different"]:
        raise SystemExit(f"{document['different']} of {document['rounds']} stores differ")


def soak(place: Path, minutes: float, seed: int) -> dict:
    draw, counts, different, rounds = random.Random(seed), Counter[str](), 0, 0
    body = load_free_body("3k5")
    policy = LitePolicy.load("lite", body)
    source = ShardSource.open(drawn_persons(place / "persons", body))
    config = GroupStoreConfig(group_size=GROUP, shard_size=PER_SHARD)
    started, handles = time.monotonic(), open_handles()

    def of(folder: Path) -> tuple:
        return (policy, body, checkpoint_hash("lite"), trained_on("lite"), source, folder, config, CRITICS)

    build_groups(*of(place / "straight"))
    straight = files_of(place / "straight")
    megabytes = [peak_megabytes()]
    while rounds == 0 or time.monotonic() - started < 60 * minutes:
        folder = place / f"round_{rounds}"
        worked(lambda f=folder: GroupUnits.begin(*of(f)), folder, draw, counts)
        while not in_a_child(lambda f=folder: build_groups(*of(f)), counts, "collectors", killed_after(draw, 0.5)):
            pass
        different += files_of(folder) != straight or (folder / FOLDER).exists()
        counts["groups"] += len(GroupStore.open(folder))
        shutil.rmtree(folder)
        rounds += 1
        megabytes.append(peak_megabytes())
    return {
        "minutes": round((time.monotonic() - started) / 60, 2), "seed": seed, "rounds": rounds, "different": different,
        **{name: counts[name] for name in sorted(counts)}, "persons": PERSONS, "units": -(-PERSONS // PER_SHARD),
        "driver_megabytes_first_and_last": [megabytes[1], megabytes[-1]],
        "driver_handles_first_and_last": [handles, open_handles()],
    }  # fmt: skip


def worked(begin: Callable[[], GroupUnits], folder: Path, draw: random.Random, counts: Counter) -> None:
    """Some waves of workers, most of which are killed; what they leave undone the collector makes."""
    for _ in range(draw.randint(1, 5)):
        running = []
        for _ in range(WORKERS):
            count = draw.choice((2, 3, 4))
            share = Share(draw.randint(1, count), count)
            running.append((fork(lambda s=share: make_share(begin(), s)), killed_after(draw, 0.8)))
        for child, after in running:
            counts["workers killed" if ended(child, after) else "workers through"] += 1


def in_a_child(work: Callable[[], object], counts: Counter, who: str, after: float | None) -> bool:
    """Whether the work came through."""
    killed = ended(fork(work), after)
    counts[f"{who} {'killed' if killed else 'through'}"] += 1
    return not killed


def killed_after(draw: random.Random, chance: float) -> float | None:
    """Seconds until the kill; None for a process that may come through."""
    return draw.uniform(0.02, 1.5) if draw.random() < chance else None


def fork(work: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def ended(child: int, after: float | None) -> bool:
    """Wait for a process, and kill it when its time is up; whether it was killed.

    Raises RuntimeError where it failed.
    """
    end = None if after is None else time.monotonic() + after
    while True:
        pid, status = os.waitpid(child, 0 if end is None else os.WNOHANG)
        if pid:
            break
        if end is not None and time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            end = None
        time.sleep(0.002)
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, -signal.SIGKILL):
        raise RuntimeError(f"a process ended with {code}")
    return code != 0


def drawn_persons(folder: Path, body) -> Path:
    """Shards of synthetic persons."""
    folder.mkdir(parents=True)
    persons = Generator(body, PoseSource(load_pose_prior()), noise=load_measured_noise()).sample(
        PERSONS, seeded(0, "soak")
    )
    write_shard(folder, 0, persons)
    write_index(folder, examples=PERSONS)
    return folder


def files_of(folder: Path) -> dict[str, str]:
    """SHA-256 of every file but locks."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != ".lock")
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def open_handles() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def peak_megabytes() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def markdown(d: dict) -> str:
    first, last = d["driver_megabytes_first_and_last"]
    before, after = d["driver_handles_first_and_last"]
    return f"""# Groups under random kills

{d["minutes"]:g} minutes, {d["rounds"]} stores of {d["persons"]} persons in {d["units"]} units, {WORKERS} workers at a
time on random shares. Made by `python benchmarks/soak/groups_soak.py --minutes N`.

| | |
| --- | ---: |
| workers killed / came through | {d.get("workers killed", 0)} / {d.get("workers through", 0)} |
| collectors killed / came through | {d.get("collectors killed", 0)} / {d.get("collectors through", 0)} |
| stores that differ from the undisturbed one in any byte | {d["different"]} |
| groups in the stores | {d["groups"]:,} |
| driver, peak MB after the first and the last round | {first:,.0f}, {last:,.0f} |
| driver, open handles before and after | {before}, {after} |
"""


if __name__ == "__main__":
    main()
