"""Rates of the comparison of other cameras: the grid goes on beyond an edge that is the best."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "alignment"))

import evidence_frame
import other_cameras


@pytest.mark.parametrize(
    ("best", "extend", "chosen", "tried"),
    [
        (1e-4, True, 1e-4, ["3e-05", "0.0001", "0.0003"]),
        (1e-3, True, 1e-3, ["0.0001", "0.0003", "0.001", "0.003"]),
        (1e-5, True, 1e-5, ["3e-06", "1e-05", "3e-05", "0.0001", "0.0003"]),
        (1.0, True, 1e-2, ["0.0001", "0.0003", "0.001", "0.003", "0.01"]),
        (1e-9, True, 1e-6, ["1e-06", "3e-06", "1e-05", "3e-05", "0.0001", "0.0003"]),
        (1e-3, False, 3e-4, ["0.0001", "0.0003"]),
    ],
)
def test_a_grid_goes_on_until_its_best_rate_lies_inside_or_the_ladder_ends(best, extend, chosen, tried):
    found = evidence_frame.best_rate(lambda rate: abs(rate - best), (1e-4, 3e-4), extend)
    assert found["rate"] == pytest.approx(chosen) and list(found["trials"]) == tried


def test_rows_of_three_rounds_have_their_own_names_and_sft_alone_needs_a_sequence():
    rows = other_cameras.rows()
    assert len({row.key for row in rows}) == len(rows)
    assert all((row.config.refresh.rounds == 3) == row.name.endswith("three rounds") for row in rows)
    assert [row.name for row in rows if row.from_base] == ["SFT alone"]
