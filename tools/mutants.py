"""Deliberate wrong changes to the mathematics, one at a time: each has to be noticed by a test near by.

    python tools/mutants.py [--only WORD] [--jobs N] [--out TABLE.md]

The table is `mutant_table.py`: a file of the package, a snippet that occurs there once, what it becomes, what that
would mean, and the tests that should fail. The package is copied to a temporary folder and changed there; only these
tests run, up to the first failure. Before that all of them have to pass on an unchanged copy. What killed each change
is printed as a table. Exit code 1 where fewer than 95 % are killed, a snippet no longer occurs exactly once, or the
tests of a change did not run, which shows nothing.

Third-party modules are imported once and every run is a fork of that (POSIX only): it costs its tests, not their
imports.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from mutant_table import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src/hmralign"

LEAST_KILLED = 0.95
LONGEST = 900
"""Seconds of wall time after which a run counts as hung, and its change as noticed: generous, for busy machines."""

_ONCE = ("torch", "scipy.stats", "scipy.optimize", "warp", "roma", "hypothesis", "pydantic", "jaxtyping", "beartype",
         "safetensors.torch", "yaml", "PIL.Image", "accelerate")  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """`status`: killed, survived, or broken (the tests did not run); `by`: the test, or what went wrong.

    `seconds` are those of the processor.
    """

    status: str
    by: str
    seconds: float


def faults(mutants: Iterable[Mutant], package: Path = PACKAGE, tests: Path = ROOT / "tests") -> list[str]:
    """What is wrong with a table: snippets that do not occur exactly once, changes that are none, missing tests."""
    found = []
    for m in mutants:
        path = package / m.file
        count = path.read_text(encoding="utf-8").count(m.snippet) if path.is_file() else 0
        if count != 1:
            found.append(f"{m.file}: {m.snippet!r} occurs {count} times, expected once")
        elif m.snippet == m.replacement:
            found.append(f"{m.file}: {m.snippet!r} is not changed")
        else:
            try:
                compile(changed(m, package), m.file, "exec")
            except SyntaxError as error:
                found.append(f"{m.file}: {m.replacement!r} is no Python ({error.msg})")
        found += [f"{m.file}: no tests '{t}'" for t in m.selection if not (tests / t.split("::")[0]).exists()]
    return found


def changed(mutant: Mutant, package: Path = PACKAGE) -> str:
    """Source of the mutant's file after the change."""
    return (package / mutant.file).read_text(encoding="utf-8").replace(mutant.snippet, mutant.replacement)


class Copy:
    """A copy of the package to change; files that are no Python are links."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "src"
        self.package = self.source / "hmralign"
        self.stamp = int(time.time()) - 1_000_000
        shutil.copytree(PACKAGE, self.package, ignore=shutil.ignore_patterns("__pycache__"), copy_function=_copied)

    def write(self, file: str, text: str) -> None:
        """A time of its own for each version: compiled files are kept by time and size."""
        path = self.package / file
        path.write_text(text, encoding="utf-8")
        self.stamp += 10
        os.utime(path, (self.stamp, self.stamp))


def _copied(source: str, target: str) -> None:
    if source.endswith(".py"):
        shutil.copyfile(source, target)
    else:
        os.symlink(source, target)


def start(selection: Sequence[str], copy: Copy, log: Path) -> int:
    """Run tests on a copy in a fork; its process number."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setpgid(0, 0)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.chdir(ROOT)
        sys.path.insert(0, str(copy.source))
        sys.dont_write_bytecode, sys.pycache_prefix = False, str(copy.source.parent / "compiled")
        os.environ |= {
            "PYTHONPATH": str(copy.source), "OMP_NUM_THREADS": "1",
            "HYPOTHESIS_STORAGE_DIRECTORY": str(copy.source.parent / "hypothesis"),
        }  # fmt: skip
        import pytest

        import hmralign

        if copy.source not in Path(hmralign.__file__).parents:
            raise RuntimeError(f"the package is imported from {hmralign.__file__}, not from the copy")
        for name in [n for n in sys.modules if n.split(".")[0] == "hmralign"]:
            del sys.modules[name]  # the tests' hook wants to import it
        options = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", "--tb=no"]
        code = int(pytest.main([*options, *(f"tests/{t}" for t in selection)]))
        sys.stdout.flush()
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)


def judged(code: int, log: Path, seconds: float) -> Outcome:
    """From how a run ended to what that says of its change."""
    text = log.read_text(encoding="utf-8", errors="replace")
    failed = re.search(r"^(?:FAILED|ERROR) (?:tests/)?(\S+)", text, re.MULTILINE)
    by = failed.group(1) if failed else text.strip().splitlines()[-1] if text.strip() else ""
    if code == 1 and failed:
        return Outcome("killed", by, seconds)
    return Outcome("survived", "", seconds) if code == 0 else Outcome("broken", by, seconds)


def run_all(mutants: Sequence[Mutant], jobs: int, folder: Path) -> Iterator[tuple[Mutant, Outcome]]:
    """Outcomes as they come, `jobs` at a time."""
    free: SimpleQueue[Copy] = SimpleQueue()
    for number in range(jobs):
        free.put(Copy(folder / str(number)))
    waiting, running = list(mutants), dict[int, tuple[Mutant, Copy, Path, float]]()
    try:
        while waiting or running:
            while waiting and not free.empty():
                mutant, copy = waiting.pop(0), free.get()
                copy.write(mutant.file, changed(mutant))
                log = copy.source.parent / "log.txt"
                running[start(mutant.selection, copy, log)] = (mutant, copy, log, time.monotonic())
            pid, outcome = _ended(running)
            mutant, copy, _, _ = running.pop(pid)
            copy.write(mutant.file, (PACKAGE / mutant.file).read_text(encoding="utf-8"))
            free.put(copy)
            yield mutant, outcome
    finally:
        for pid in running:
            os.killpg(pid, signal.SIGKILL)


def _ended(running: dict[int, tuple[Mutant, Copy, Path, float]]) -> tuple[int, Outcome]:
    """Wait for one of the runs."""
    while True:
        for pid, (_, _, log, begun) in running.items():
            done, status, used = os.wait4(pid, os.WNOHANG)
            if done:
                return pid, judged(os.waitstatus_to_exitcode(status), log, used.ru_utime + used.ru_stime)
            if time.monotonic() - begun > LONGEST:
                os.killpg(pid, signal.SIGKILL)
                _, _, used = os.wait4(pid, 0)
                return pid, Outcome("killed", f"hung for {LONGEST} s", used.ru_utime + used.ru_stime)
        time.sleep(0.05)


def passes_unchanged(mutants: Sequence[Mutant], folder: Path) -> str:
    """What fails without any change; nothing where all is well."""
    copy, log = Copy(folder / "unchanged"), folder / "unchanged.txt"
    selection = sorted({t for m in mutants for t in m.selection})
    _, status = os.waitpid(start(selection, copy, log), 0)
    outcome = judged(os.waitstatus_to_exitcode(status), log, 0.0)
    return "" if outcome.status == "survived" else outcome.by or "the tests did not run"


def markdown(rows: Sequence[tuple[Mutant, Outcome]]) -> str:
    """One line per change."""
    lines = ["| file | what is wrong | | by |", "| --- | --- | --- | --- |"]
    for mutant, outcome in sorted(rows, key=lambda row: (row[0].file, row[0].meaning)):
        lines.append(f"| {mutant.file} | {mutant.meaning} | {outcome.status} | {outcome.by.replace('|', ' ')} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="changes whose file or meaning contains this")
    parser.add_argument("--jobs", type=int, default=2, choices=(1, 2), help="runs at a time")
    parser.add_argument("--out", type=Path, help="also write the table here")
    args = parser.parse_args()
    if wrong := faults(MUTANTS):
        print(*wrong, sep="\n")
        return 1
    mutants = [m for m in MUTANTS if args.only in m.file or args.only in m.meaning]
    if not mutants:
        print(f"no change contains '{args.only}'")
        return 1
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in _ONCE:
        importlib.import_module(name)
    rows: list[tuple[Mutant, Outcome]] = []
    with tempfile.TemporaryDirectory(prefix="mutants_") as folder:
        if reason := passes_unchanged(mutants, Path(folder)):
            print(f"the tests fail without any change: {reason}")
            return 1
        for mutant, outcome in run_all(mutants, args.jobs, Path(folder)):
            rows.append((mutant, outcome))
            count, what = f"{len(rows)}/{len(mutants)}", f"{mutant.file}: {mutant.meaning}"
            print(f"{count} {outcome.status:8} {outcome.seconds:4.0f} s  {what}  {outcome.by}", flush=True)
    table = markdown(rows)
    if args.out is not None:
        args.out.write_text(table, encoding="utf-8")
    killed = sum(outcome.status == "killed" for _, outcome in rows)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print("\n" + table)
    print(f"{killed} of {len(rows)} killed, {(used.ru_utime + used.ru_stime) / 60:.1f} CPU minutes")
    broken = any(outcome.status == "broken" for _, outcome in rows)
    return int(broken or killed < LEAST_KILLED * len(rows))


if __name__ == "__main__":
    sys.exit(main())
