"""JSON has one reader, which counts bytes, depth and values and refuses a key that is given twice."""

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "src/hmralign"

PARSES = {
    "storage/json_file.py": "it is the reader",
    "storage/run_record.py": "what it parses it has just written itself: values as they come back from a file",
    "detection/mediapipe_worker.py": "it runs in the detector's environment, where this package is not installed; the "
    "requests are those of its parent",
    "vlm/structured.py": "answers of models, which are bounded by the reader of replies: raw control characters inside "
    "of strings are forgiven there, and a key that comes twice is a breach with a name of its own",
}
"""Modules that call `json.loads` themselves, and why."""


READING = {"load", "loads", "JSONDecoder"}


def parsers(source: str) -> Iterator[int]:
    """Lines on which a module reaches for a function of `json` that reads, under whatever name."""
    nodes = list(ast.walk(ast.parse(source)))
    imported = [name for node in nodes if isinstance(node, ast.Import) for name in node.names if name.name == "json"]
    names = {name.asname or name.name for name in imported}
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id in names and node.attr in READING:
                yield node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module in ("json", "json.decoder"):
            if READING & {name.name for name in node.names}:
                yield node.lineno


def test_only_the_reader_parses_json_and_the_few_that_have_a_reason():
    found = {str(p.relative_to(SOURCES)) for p in SOURCES.rglob("*.py") if list(parsers(p.read_text()))}
    assert found == set(PARSES)


def test_a_parser_would_be_seen_under_any_name():
    for line in (
        "import json\nx = json.loads(text)",
        "import json\nx = json.load(file)",
        "from json import loads",
        "import json as j\nx = j.loads(text)",
        "import json\nparse = json.loads",
        "import json\nx = json.JSONDecoder().decode(text)",
    ):
        assert list(parsers(line)), line
    quiet = "import json\nfrom json import dumps\nx = json.dumps(1)\ny = yaml.load(text)\nz = torch.load(path)"
    assert not list(parsers(quiet))
