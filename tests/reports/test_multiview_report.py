"""The page of a multi-view fine-tuning: whole, without a network, with what it was given."""

import numpy as np
import pytest

from hmralign.reports.line_chart import line_chart
from hmralign.reports.multiview_report import Chart, MultiViewReport, StripsOfPerson, write_multiview_report
from hmralign.structures import InputError


def report(**changes):
    strip = np.zeros((8, 32, 3), np.uint8)
    given = {
        "title": "Fine-tuning <1>",
        "summary": "2 people",
        "persons": [StripsOfPerson("person 1", [("before", strip), ("after", strip)])],
        "charts": [Chart("judge", "CPU s", {"guarded": [(0.0, 60.0), (10.0, 55.0)], "not": [(0.0, 60.0)]})],
        "facts": {"base": "tiny"},
        "caveats": ["The base does not beat retrieval."],
    }
    return MultiViewReport(**(given | changes))


def test_the_page_has_all_it_was_given_and_loads_nothing(tmp_path):
    text = write_multiview_report(tmp_path / "page.html", report()).read_text(encoding="utf-8")
    for words in ("Fine-tuning &lt;1&gt;", "2 people", "person 1", "before", "after", "guarded", "does not beat"):
        assert words in text
    assert text.count("<img ") == 2 and text.count("<polyline ") == 2
    assert "http://" not in text and "https://" not in text and "default-src 'none'" in text


def test_a_page_needs_a_person(tmp_path):
    with pytest.raises(InputError, match="no person"):
        write_multiview_report(tmp_path / "page.html", report(persons=[]))


def test_curves_are_drawn_where_their_points_are():
    text = line_chart({"a": [(0.0, 1.0), (4.0, 3.0)], "b": [(2.0, 2.0), (3.0, float("nan"))]}, "t", "steps")
    drawn = [line.split('"')[0] for line in text.split('points="')[1:]]
    (left, low), (right, high) = (tuple(map(float, p.split(","))) for p in drawn[0].split())
    middle = tuple(map(float, drawn[1].split(",")))
    assert left < right and low > high and len(drawn[1].split()) == 1
    assert middle == pytest.approx(((left + right) / 2, (low + high) / 2), abs=0.1)
    assert ">3</text>" in text and "4 steps" in text


def test_a_flat_curve_is_drawn_and_none_at_all_refused():
    assert "polyline" in line_chart({"a": [(0.0, 1.0), (1.0, 1.0)]}, "t", "x")
    with pytest.raises(InputError, match="no finite point"):
        line_chart({"a": [(0.0, float("inf"))]}, "t", "x")
