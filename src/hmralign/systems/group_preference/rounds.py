"""What the groups of each round were shown, beside the memory: `<memory>.rounds.jsonl`.

A round sees the memory as it was when the round began. Should a run be killed after some of its episodes were written,
the others have to see the same memory still, or they would be asked anew. Rules and cases are never changed, so their
ids suffice. Which rule is left out when a group is judged a second time is decided then too, and is kept with it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hmralign.critics.vlm.memory.retrieval import Retrieved
from hmralign.critics.vlm.memory.store import Memory
from hmralign.storage.json_file import read_json_lines
from hmralign.storage.run_record import first_difference, plain
from hmralign.storage.whole_file import naming_file
from hmralign.structures import InputError, MemoryContext

FORMAT_VERSION = 1


class Rounds:
    """The file, open. The first line says how the memory is explored; it is continued in the same way alone."""

    def __init__(self, path: Path, shown: dict[str, dict[str, Any]]) -> None:
        self.path, self._shown = path, shown

    @classmethod
    def open(cls, memory: Memory, settings: Mapping[str, Any]) -> Rounds:
        """Open or begin. Raises InputError for other settings, and for a file of something else."""
        path = memory.path.with_name(f"{memory.path.name}.rounds.jsonl")
        head = {"format_version": FORMAT_VERSION, "settings": plain(settings)}
        lines = _read(path)
        if not lines:
            path.unlink(missing_ok=True)
            rounds = cls(path, {})
            rounds._append([head])
            return rounds
        if lines[0].get("format_version") != FORMAT_VERSION or "settings" not in lines[0]:
            raise InputError(f"{path}: not the rounds of a memory in version {FORMAT_VERSION}")
        if (changed := first_difference(lines[0]["settings"], head["settings"])) is not None:
            raise InputError(
                f"the memory {memory.path} was explored with {changed}; go on with the same, or begin another memory"
            )
        return cls(path, {line["episode"]: line for line in lines[1:]})

    def recorded(self, memory: Memory, episode: str) -> Retrieved | None:
        """What an episode was shown; None where its round has not started."""
        line = self._shown.get(episode)
        if line is None:
            return None
        rules = {rule.id: rule for rule in memory.rules(retired=True)}
        missing = [name for name in line["rules"] if name not in rules]
        if missing:
            raise InputError(f"{self.path}: names the rule '{missing[0]}', which {memory.path} does not have")
        context = MemoryContext(
            tuple(rules[name] for name in line["rules"]), memory.prototypes(line["prototypes"])
        )  # fmt: skip
        return Retrieved(context, tuple(line["rules"]), tuple(line["prototypes"]), tuple(line["tags"]))

    def has_begun(self, episode: str) -> bool:
        """Whether the round of an episode has started."""
        return episode in self._shown

    def left_out(self, episode: str) -> str | None:
        """The rule without which its group is judged again; None for none."""
        return self._shown.get(episode, {}).get("left_out")

    def begin(self, shown: Mapping[str, Retrieved], left_out: Mapping[str, str] | None = None) -> None:
        """Record what these episodes are shown, and what is left out the second time, on disk before this returns."""
        left_out = left_out or {}
        lines: list[dict[str, Any]] = [
            {"episode": name, "rules": list(r.rules), "prototypes": list(r.prototypes), "tags": list(r.tags)}
            | ({"left_out": left_out[name]} if name in left_out else {})
            for name, r in shown.items()
        ]
        if lines:
            self._append(lines)
        self._shown.update({line["episode"]: line for line in lines})

    def _append(self, lines: list[dict[str, Any]]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        whole = self.path.read_bytes().rfind(b"\n") + 1 if self.path.is_file() else 0
        with naming_file(self.path), self.path.open("r+b" if self.path.is_file() else "xb") as file:
            file.truncate(whole)  # half a line that a kill left
            file.seek(whole)
            file.write("".join(f"{json.dumps(line)}\n" for line in lines).encode())
            file.flush()
            os.fsync(file.fileno())


def _read(path: Path) -> list[dict[str, Any]]:
    """Whole lines; none where there is no file."""
    return [line.value for line in read_json_lines(path, "round", cut=True)] if path.exists() else []
