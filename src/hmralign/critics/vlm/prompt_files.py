"""Prompts as they lie on disk: `prompts/<version>/<name>.md`, in sections.

The text of a version never changes once scores were made with it: new words are a new version. Scores are stored with
the hash of the prompt, so that two sets of scores can be told apart.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template

from hmralign.structures import InputError

LATEST = "v1"
"""Version that is used where none is named."""

_FOLDER = Path(__file__).parent / "prompts"
_MARK = re.compile(r"^<!-- section: ([a-z_]+) -->\n", re.MULTILINE)


@dataclass(frozen=True)
class PromptFile:
    """One prompt of one version."""

    name: str
    version: str
    sha256: str
    """Hash of the file."""
    sections: dict[str, str]

    def fill(self, section: str, **values: str | int) -> str:
        """Text of a section with `$name` replaced; every name of the section must be given."""
        return Template(self.sections[section]).substitute(values)

    @property
    def record(self) -> dict[str, str]:
        """For the facts of a critic."""
        return {"prompt": self.name, "version": self.version, "sha256": self.sha256}


def prompt_versions(folder: Path = _FOLDER) -> tuple[str, ...]:
    """All versions of the prompts in a folder of this package, by default the judge's."""
    return tuple(sorted(p.name for p in folder.iterdir() if p.is_dir()))


@cache
def read_prompt(name: str, version: str = LATEST, folder: Path = _FOLDER) -> PromptFile:
    """A prompt. Raises InputError for a version or a prompt that the folder has not."""
    if version not in prompt_versions(folder):
        there = ", ".join(prompt_versions(folder))
        raise InputError(f"there is no version '{version}' of the prompts; there are {there}")
    path = folder / version / f"{name}.md"
    if not path.is_file():
        there = ", ".join(sorted(p.stem for p in path.parent.glob("*.md")))
        raise InputError(f"prompts {version} have no '{name}'; there are {there}")
    # Line ends are part of what is hashed and sent, whatever a checkout made of them.
    text = path.read_text(encoding="utf-8").replace("\r\n", "\n")
    marks = list(_MARK.finditer(text))
    ends = [m.start() for m in marks[1:]] + [len(text)]
    sections = {m[1]: text[m.end() : end].strip() for m, end in zip(marks, ends, strict=True)}
    return PromptFile(name, version, hashlib.sha256(text.encode()).hexdigest(), sections)
