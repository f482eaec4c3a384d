"""The commands that README and documents show in `bash` blocks.

A command runs as it stands, in its document's order, unless its document says what it needs beyond the package: in
brackets at the end of its line's comment, `# ... [detector]`, or for a whole block in the line before it,
`<!-- not run: detector -->`. Such a word is one of `NEEDS`.
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

NEEDS = ("detector", "network", "server", "weights", "files", "hours")

_BLOCK = re.compile(r"(?:<!-- not run: (?P<need>[^>]*?) -->\n)?```bash\n(?P<text>.*?)^```", re.DOTALL | re.MULTILINE)
_MARK = re.compile(r"#.*\[(\w+)\]$")


@dataclass(frozen=True)
class Documented:
    """One command."""

    document: str
    words: tuple[str, ...]
    needs: str | None
    """What it needs beyond the package; None for a command that runs everywhere."""

    @property
    def program(self) -> str:
        return self.words[0]


def documented_commands(path: Path, name: str) -> list[Documented]:
    """All commands of a document, from top to bottom; `$NAME` stands for what the document assigned to it."""
    assigned: dict[str, str] = {}
    found = []
    for block in _BLOCK.finditer(path.read_text()):
        for line, need in _lines(block["text"]):
            for variable, value in assigned.items():
                line = re.sub(rf"\${variable}\b", lambda _, value=value: value, line)
            if assignment := re.fullmatch(r'([A-Z]\w*)="(.*)"', line):
                assigned[assignment[1]] = assignment[2]
                continue
            found += [Documented(name, words, block["need"] or need) for words in _commands(line)]
    return found


def _lines(text: str) -> list[tuple[str, str | None]]:
    """Lines without their comments, continued ones joined, texts for another program left out; and what each needs."""
    text = re.sub(r"<<'END'\n.*?\nEND\n", "\n", text, flags=re.DOTALL).replace("\\\n", " ")
    marks = [(line, _MARK.search(line)) for line in text.splitlines()]
    return [(re.sub(r"(^|\s)#.*", "", line).strip(), mark and mark[1]) for line, mark in marks]


def _commands(line: str) -> list[tuple[str, ...]]:
    """The commands of a line, also inside of a loop."""
    parts = [re.sub(r"^(do|done|for \w+ in .*)\b\s*", "", part.strip()) for part in line.split(";")]
    return [tuple(shlex.split(part)) for part in parts if part.strip()]
