"""Committed results hold what their tables show, so that they stay small enough to be read."""

import json
from pathlib import Path

import pytest

from hmralign.studies.alignment.report import study_markdown
from hmralign.studies.alignment.shown import shown_text

RESULTS = Path(__file__).parents[2] / "docs" / "results"
LARGEST = 150_000
FILES = sorted(RESULTS.glob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_a_result_is_strict_json_of_150_kb_at_most(path):
    def refuse(text: str):
        raise AssertionError(f"{path.name} holds {text}")

    assert path.stat().st_size <= LARGEST
    json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def test_there_are_results():
    assert len(FILES) > 20


def test_the_comparison_of_methods_is_what_its_table_shows():
    text = (RESULTS / "alignment.json").read_text(encoding="utf-8")
    document, reading = json.loads(text), (RESULTS / "alignment_reading.md").read_text(encoding="utf-8")
    assert shown_text(document) == text
    assert study_markdown(document, reading) == (RESULTS / "alignment.md").read_text(encoding="utf-8")
