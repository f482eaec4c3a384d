"""Docstrings are sentences that stand alone, in plain English."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "src").rglob("*.py"))
BEGINNINGS = ("Of ", "For whom ", "From whom ")
FOREIGN = (" of whom ", " was begun", " is begun", " has begun", " have begun", " had begun", " begun or ", "whereof")


def docstrings(source: str) -> list[tuple[int, str]]:
    """Line and text of every docstring: of modules, classes and functions, and those below fields and constants."""
    bodies = [node.body for node in ast.walk(ast.parse(source)) if isinstance(getattr(node, "body", None), list)]
    texts = [s for body in bodies for s in body if isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant)]
    return [(s.lineno, s.value.value) for s in texts if isinstance(s.value.value, str)]


def faults(source: str) -> list[str]:
    found = []
    for line, text in docstrings(source):
        words = f" {' '.join(text.split())}"
        if words[1:].startswith(BEGINNINGS) or any(phrase in words for phrase in FOREIGN):
            found.append(f"{line}: {words[1:80]}")
    return found


@pytest.mark.parametrize(
    ("source", "number"),
    [
        ('X = 1\n"""Of the file."""\n', 1),
        ('class A:\n    """Of a store."""\n    x: int = 1\n    """Of the\n    store."""\n', 2),
        ('def f():\n    """Hash of the file."""\n    return "Of the file"\n', 0),
        ('"""Persons of\nwhom something is seen."""\n', 1),
        ('"""A run that was begun."""\n', 1),
        ('"""Often, something."""\n', 0),
    ],
)
def test_the_test_sees_them(source, number):
    assert len(faults(source)) == number


def test_docstrings_stand_alone():
    wrong = [f"{path.relative_to(ROOT)}:{fault}" for path in FILES for fault in faults(path.read_text())]
    assert not wrong, "\n".join(wrong)
