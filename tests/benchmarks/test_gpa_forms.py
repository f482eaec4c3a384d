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


def test_the_committed_figures_are_of_these_rows_and_stand_in_the_page():
    results = ROOT / "docs/results"
    rows = json.loads((results / "gpa_forms.json").read_text())["rows"]
    assert BASE in rows and set(rows) <= {BASE, *gpa_forms.ROWS}
    page = (results / "gpa_forms.md").read_text(encoding="utf-8")
    assert (results / "gpa_forms_reading.md").read_text(encoding="utf-8").strip() in page
    for name, row in rows.items():
        if not row["runs"]:
            continue  # named in the page as not run yet
        mean, low, high = row["raw"]["minus_base_mm"]["fused"]
        line = next(line for line in page.splitlines() if line.startswith(f"| {name} |"))
        assert f"{mean:+.1f} ({low:+.1f} to {high:+.1f})" in line and low <= mean <= high
