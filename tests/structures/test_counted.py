"""Messages say one person and three persons, and no message forms its plural by hand."""

import ast
import re
from pathlib import Path

import pytest

from hmralign.structures.counted import counted

FILES = sorted((Path(__file__).parents[2] / "src").rglob("*.py"))
PLURAL = re.compile(r" (?:[a-z-]+ )?(persons|people|\w{3,}(?<!s)s)\b")
NO_PLURALS = {
    "always",
    "towards",
    "perhaps",
    "its",
    "this",
    "has",
    "was",
    "does",
    "holds",
    "differs",
    "begins",
    "needs",
}


@pytest.mark.parametrize(
    ("one", "several"),
    [
        ("person", "persons"), ("hypothesis", "hypotheses"), ("body", "bodies"), ("key", "keys"), ("entry", "entries"),
        ("vertex", "vertices"), ("success", "successes"), ("match", "matches"), ("box", "boxes"), ("case", "cases"),
        ("held-out group", "held-out groups"), ("sampling step", "sampling steps"),
    ],
)  # fmt: skip
def test_only_one_is_singular(one, several):
    assert counted(1, one) == f"1 {one}"
    assert [counted(n, one) for n in (0, 2, 1000)] == [f"{n} {several}" for n in (0, 2, 1000)]


def test_a_plural_of_its_own():
    assert (counted(1, "person", "people"), counted(2, "person", "people")) == ("1 person", "2 people")


def by_hand(source: str) -> list[str]:
    """f-strings in which a length stands before a plural, or an `s` hangs on a comparison."""
    found = []
    for text in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.JoinedStr)):
        for part, after in zip(text.values, [*text.values[1:], None], strict=True):
            if not isinstance(part, ast.FormattedValue):
                continue
            said = ast.unparse(part.value)
            words = str(after.value) if isinstance(after, ast.Constant) else ""
            plural = PLURAL.match(words)
            is_length = said.startswith("len(") and part.format_spec is None
            if is_length and plural and plural[1] not in NO_PLURALS:
                found.append(f"{{{said}}}{plural[0]}")
            if re.search(r"'e?s' \* |else 'e?s'$|^'e?s' if ", said):
                found.append(f"{{{said}}}")
    return found


@pytest.mark.parametrize(
    ("source", "number"),
    [
        ('f"{len(x)} persons"', 1),
        ('f"has {len(x.y[0])} held-out groups of"', 1),
        ("f\"person{'s' * (n != 1)}\"", 1),
        ("f\"{n} photo{'' if n == 1 else 's'}\"", 1),
        ("f\"{counted(len(x), 'person')} of\"", 0),
        ('f"{len(x):,} persons"', 0),
        ('f"{len(x)} of {len(y)}"', 0),
    ],
)
def test_the_test_sees_them(source, number):
    assert len(by_hand(source)) == number


def test_no_message_forms_its_plural_by_hand():
    wrong = [f"{path.name}: {text}" for path in FILES for text in by_hand(path.read_text())]
    assert not wrong, "\n".join(wrong)
