"""The comparison of GPA's two forms: its rows are there, and what is committed is what its figures show."""

import json
import sys
from pathlib import Path

from hmralign.studies.alignment.rows import BASE, chosen_rows

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "alignment"))

import gpa_forms

ROOT = Path(__file__).parents[2]


def test_each_row_is_one_of_the_full_comparison_and_is_chosen_alone():
    assert {row.name for row in chosen_rows(gpa_forms.ROWS)} == {BASE, *gpa_forms.ROWS}
    assert {name for pair in gpa_forms.PAIRS for name in pair} <= set(gpa_forms.ROWS)


def test_older_rows_have_a_rate_that_was_chosen_before_and_new_ones_do_not():
    known = json.loads((ROOT / "docs/results/alignment.json").read_text())["rows"]
    new = {name for name in gpa_forms.ROWS if name not in known}
    assert new == {name for name in gpa_forms.ROWS if name.startswith(("GPA paper", "GPA code"))}


def test_the_committed_document_is_what_its_figures_show():
    results = ROOT / "docs/results"
    document = json.loads((results / "gpa_forms.json").read_text())
    reading = (results / "gpa_forms_reading.md").read_text(encoding="utf-8")
    assert gpa_forms.markdown(document, reading) == (results / "gpa_forms.md").read_text(encoding="utf-8")
    assert set(document["rows"]) == {BASE, *gpa_forms.ROWS}
    pairs = {f"{a} - {b}": (a, b) for a, b in gpa_forms.PAIRS}
    assert document["pairs"] and set(document["pairs"]) <= set(pairs)
    for name in document["pairs"]:
        a, b = pairs[name]
        difference = document["pairs"][name]["raw"]["fused"][0]
        means = [document["rows"][row]["raw"]["mm"]["fused"][0] for row in (a, b)]
        if document["rows"][a]["runs"] == document["rows"][b]["runs"]:
            assert abs(difference - (means[0] - means[1])) < 0.2
