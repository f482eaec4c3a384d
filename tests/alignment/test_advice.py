"""Which measured rows fit which situation, and that each names a page that is there."""

from dataclasses import replace
from pathlib import Path

import pytest

from hmralign.alignment.advice import ADVICE, Situation, fitting

DOCS = Path(__file__).parents[2] / "docs"
PLAIN = Situation((), has_truth=False, persons=2000, sampled_by_us=True, trained_on=("lab/train",), fit_share=0.02)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"critics": ("scorer",)}, ["scorer"]),
        ({"critics": ("scorer",), "trained_on": ("prior:train", "shards:train")}, ["scorer, saturated"]),
        ({"critics": ("reprojection", "scorer-lab"), "has_truth": True}, ["labels", "scorer", "evidence"]),
        ({"critics": ("limb-tilt", "vlm")}, ["pixels", "words", "a judge"]),
        ({"critics": ("mine.make",)}, ["a judge"]),
        ({"persons": 99, "sampled_by_us": False}, ["others", "few"]),
    ],
)
def test_rows_fit_by_what_is_there(change, expected):
    assert fitting(replace(PLAIN, **change)) == expected


def test_each_row_names_a_page_and_the_recipe_says_all_of_them():
    page = (DOCS / "recipes/should_i_align.md").read_text()
    for advice in ADVICE.values():
        name, _, anchor = advice.source.partition("#")
        text = (DOCS / name).read_text()
        headings = {line.lstrip("#").strip().lower().replace(" ", "-") for line in text.splitlines() if line[:1] == "#"}
        assert not anchor or anchor in headings
        assert f"| {advice.have} | {advice.do} | {advice.gave} | {advice.costs} |" in page


@pytest.mark.parametrize(
    ("row", "figures"),
    [
        ("labels", ("-20.3 (-27.0 to -14.0)", "+15.2")),
        ("scorer", ("-14.5 (-17.9 to -11.3)", "+10.6", "(0.7 to 11.1)")),
        ("scorer, saturated", ("+1.0 (+0.1 to +2.0)", "+0.4 (-0.9 to +1.8)")),
        ("pixels", ("3.6 (2.3 to 4.8)", "1.5 (0.2 to 2.7)")),
        ("cameras", ("-6.0 (-8.4 to -3.9)", "-3.6 (-4.6 to -2.5)", "-1.7 (-2.3 to -1.1)", "0.1 (-0.1 to +0.3)")),
        ("cameras", ("-1.4 mm (-1.9 to -1.0",)),
        ("frames", ("147", "150", "+0.03, -0.02 to +0.08", "+0.10 (+0.04 to +0.15)")),
        ("gravity", ("0.20", "0.43", "+0.00 (-0.01 to +0.02)", "+0.05 (+0.04 to +0.07)")),
        ("words", ("-12.9", "-14.6", "-11.2")),
        ("a judge", ("-1.9 (-2.8 to -1.0)", "-3.2 (-4.3 to -2.2)", "-5.0 (-6.5 to -3.7)", "-5.4 (-7.0 to -3.9)")),
        ("bad labels", ("(2.7 to 6.2)", "14.4 (9.9 to 18.7)")),
    ],
)
def test_figures_are_those_of_the_page(row, figures):
    """A page that is measured again and says something else breaks the row that quotes it."""
    text = (DOCS / ADVICE[row].source.partition("#")[0]).read_text().replace("\u2212", "-")
    plain = ADVICE[row].gave.replace("+", "")
    for figure in figures:
        assert figure in text, figure
        assert figure.replace("+", "").replace(" mm", "") in plain
