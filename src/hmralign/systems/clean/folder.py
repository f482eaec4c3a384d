"""The output folder of a cleaning: what it was made from and how, so that another run continues it or is refused.

folder/
  plan.json               source, critic and rule; written first
  scores/                 `systems.clean.scores`
  cleaned.jsonl           a line per kept label: id, number in the source, hypothesis, score
  dropped.jsonl           a line per dropped label: the same and the reason
  sheet.png               labels nearest to the threshold
  cleaned/, cleaned.npz   with `--write`: what is trained on
  summary.json            counts, histogram, threshold, hashes; written last
  .lock                   held by the one process that writes
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hmralign.storage.folder_lock import held_folder
from hmralign.storage.json_file import read_record
from hmralign.storage.run_record import require_own_folder, require_same_run
from hmralign.storage.whole_file import write_json, write_whole
from hmralign.structures import InputError

FORMAT_VERSION = 1

_NO_STRANGERS = (".lock", "run.yaml")


@contextmanager
def cleaning_folder(folder: Path, plan: dict[str, Any]) -> Iterator[Path]:
    """Hold the folder for this plan, making it where it is not there.

    Raises InputError where another process writes, where the folder holds something else, and for a folder of another
    plan, naming the first setting that differs.
    """
    require_own_folder(folder, "plan.json", "no cleaning", _NO_STRANGERS)  # before anything is written, a lock included
    with held_folder(folder, "writing to this folder"):
        join_cleaning(folder, plan)
        yield folder


def join_cleaning(folder: Path, plan: dict[str, Any]) -> None:
    """See that the folder has this plan, or write it: for one of several processes, which hold nothing.

    Raises InputError as `cleaning_folder`.
    """
    require_own_folder(folder, "plan.json", "no cleaning", _NO_STRANGERS)
    if not (folder / "plan.json").is_file():
        write_json(folder / "plan.json", {"format_version": FORMAT_VERSION, **plan})
    require_same_run(folder, read_plan(folder), plan)


def read_plan(folder: Path) -> dict[str, Any]:
    """What a folder was made from. Raises InputError where it is no folder of a cleaning, newer or damaged."""
    path = folder / "plan.json"
    if not path.is_file():
        raise InputError(f"{folder}: no plan.json, so this is no folder of `hmralign clean`")
    plan = read_record(path, "the plan of a cleaning", FORMAT_VERSION)
    del plan["format_version"]
    return plan


def borrow_scores(earlier: Path, folder: Path, plan: dict[str, Any]) -> None:
    """Copy the scores of an earlier cleaning that differs in its rule alone; nothing where there are scores already.

    Raises InputError where the earlier one judged other labels, or judged them otherwise, or has not finished.
    """
    there = read_plan(earlier)
    advice = "leave it out to have the labels judged"
    require_same_run(earlier, there.get("scoring"), plan["scoring"], what="its scores were", advice=advice)
    scores = earlier / "scores" / "scores.safetensors"
    if not scores.is_file():
        raise InputError(f"{earlier}: has not judged all its labels; finish that run first")
    if not (folder / "scores" / "scores.safetensors").is_file():
        write_whole(folder / "scores" / "scores.safetensors", scores.read_bytes())
