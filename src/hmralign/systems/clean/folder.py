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

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hmralign.storage.folder_lock import held_folder
from hmralign.storage.json_file import read_record
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
    _require_own(folder)  # before anything is written, a lock included
    with held_folder(folder, "writing to this folder"):
        if (folder / "plan.json").is_file():
            _require_same(folder, read_plan(folder), _plain(plan))
        else:
            content = {"format_version": FORMAT_VERSION, **plan}
            write_json(folder / "plan.json", content)
        yield folder


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
    for name, value in _plain(plan["scoring"]).items():
        if there.get("scoring", {}).get(name) != value:
            raise InputError(
                f"{earlier}: its scores are of {name} = {_short(there.get('scoring', {}).get(name))}, not "
                f"{_short(value)}; leave it out to have the labels judged"
            )
    scores = earlier / "scores" / "scores.safetensors"
    if not scores.is_file():
        raise InputError(f"{earlier}: has not judged all its labels; finish that run first")
    if not (folder / "scores" / "scores.safetensors").is_file():
        write_whole(folder / "scores" / "scores.safetensors", scores.read_bytes())


def _require_own(folder: Path) -> None:
    if folder.is_dir() and not (folder / "plan.json").is_file():
        strangers = [p.name for p in folder.iterdir() if p.name not in _NO_STRANGERS and p.suffix != ".part"]
        if strangers:
            raise InputError(f"{folder}: is not empty ('{strangers[0]}') and no cleaning; use another folder")


def _require_same(folder: Path, there: dict[str, Any], wanted: dict[str, Any]) -> None:
    for group, settings in wanted.items():
        for name, value in settings.items():
            found = there.get(group, {}).get(name)
            if found != value:
                raise InputError(
                    f"{folder}: was made with {name} = {_short(found)}, not {_short(value)}; use another folder"
                )


def _plain(plan: dict[str, Any]) -> dict[str, Any]:
    """As it comes back from a file."""
    return json.loads(json.dumps(plan))


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
