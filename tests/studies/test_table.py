"""Figures of runs whose errors are known: averages, pairs, headroom and when it is not defined."""

import numpy as np
import pytest

from hmralign.studies.table import NOT_DEFINED, Run, compared, headroom, row_figures

PERSONS = 40
ERRORS = np.linspace(0.1, 0.3, PERSONS)
NOISE = np.random.default_rng(0).normal(0, 0.002, PERSONS)


def run(gain: float, noise: float = 1.0, **more) -> Run:
    """Errors that are `gain` metres lower than the base's, on average."""
    values = ERRORS - gain + noise * (NOISE - NOISE.mean())
    columns = {n: values for n in ("single", "fused", "min_of_10")} | {"failed": np.zeros(PERSONS)} | more
    return Run({"raw": columns, "refined": columns}, {}, {"fused": values[:5]})


BASE = {(0, 0): run(0.0, 0.0), (1, 0): run(-0.05, 0.0)}


def test_runs_are_averaged_against_their_own_bases():
    rows = {(0, 0): run(0.01), (0, 1): run(0.02), (1, 0): run(-0.04), (1, 1): run(-0.03)}  # second base: 50 mm worse
    found = row_figures(rows, BASE, None)
    mean, low, high = found["raw"]["minus_base_mm"]["fused"]
    assert mean == -15.0 and low <= mean <= high and found["runs"] == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert found["raw"]["sd_over_runs_mm"]["fused"] == pytest.approx(np.std([10, 20, 10, 20], ddof=1), abs=0.01)
    assert found["raw"]["mm"]["fused"][0] == pytest.approx(1000 * (ERRORS.mean() + 0.025 - 0.015), abs=0.06)
    assert row_figures({(0, 0): run(0.01)}, BASE, None)["raw"]["sd_over_runs_mm"]["fused"] is None


def test_runs_without_a_base_do_not_count():
    found = row_figures({(0, 0): run(0.01), (2, 0): run(0.5)}, BASE, None)
    assert found["runs"] == [[0, 0]] and found["raw"]["minus_base_mm"]["fused"][0] == -10.0
    assert row_figures({(2, 0): run(0.5)}, BASE, None) == {"runs": []}


def test_persons_without_a_value_are_left_out():
    hidden = np.where(np.arange(PERSONS) < 10, np.nan, ERRORS)
    base = {(0, 0): run(0.0, fused_hidden=hidden, nobody=np.full(PERSONS, np.nan))}
    rows = {(0, 0): run(0.0, fused_hidden=hidden - 0.02, nobody=np.full(PERSONS, np.nan))}
    found = row_figures(rows, base, None)["raw"]
    assert found["minus_base_mm"]["fused_hidden"] == [-20.0, -20.0, -20.0]
    assert found["mm"]["fused_hidden"][0] == pytest.approx(1000 * (ERRORS[10:].mean() - 0.02), abs=0.06)
    assert found["mm"]["nobody"] is None


def test_headroom_is_the_share_of_the_ceilings_gain_on_the_same_runs():
    ceiling = {(0, 0): run(0.04), (1, 0): run(0.5)}
    assert headroom({(0, 0): run(0.01), (0, 1): run(0.9)}, BASE, ceiling, "raw")["fused"] == 25
    assert headroom({(0, 0): run(0.05)}, BASE, ceiling, "raw")["min_of_10"] == 125
    assert headroom(BASE, BASE, ceiling, "raw")["fused"] == 0


@pytest.mark.parametrize("gain", [0.0, 0.00001, -0.02])
def test_headroom_is_not_defined_where_the_ceiling_does_not_clearly_help(gain):
    found = headroom({(0, 0): run(0.01)}, BASE, {(0, 0): run(gain)}, "raw")
    assert found == {"fused": NOT_DEFINED, "min_of_10": NOT_DEFINED}


def test_headroom_needs_a_ceiling_of_the_same_run():
    for ceiling in (None, {}, {(0, 1): run(0.04)}):
        assert headroom({(0, 0): run(0.01)}, BASE, ceiling, "raw") == {"fused": None, "min_of_10": None}


def test_rows_are_compared_on_the_runs_that_both_have():
    a, b = {(0, 0): run(0.01), (0, 1): run(0.9)}, {(0, 0): run(0.03), (1, 0): run(0.9)}
    found = compared(a, b)
    assert found["runs"] == [[0, 0]] and found["raw"]["fused"] == [20.0, 20.0, 20.0]
    assert compared(a, {(1, 1): run(0.1)}) == {}


def test_forgetting_is_the_change_on_the_other_persons():
    assert row_figures({(0, 0): run(-0.003)}, {(0, 0): run(0.0)}, None)["forgetting_mm"] == [3.0, 3.0, 3.0]
