"""Labels are kept by their score alone: never by their place, and never without a reason."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmralign.cleaning.selection import (
    DEFAULT_MARGINS,
    NO_EVIDENCE,
    PAPER_THRESHOLD,
    KeepRule,
    half_sample_mode,
    outlier_threshold,
    select,
    share_threshold,
)
from hmralign.structures import InputError

SCORES = np.array([0.9, 0.31, 0.6, 0.599, 0.05])

some_scores = st.lists(st.integers(0, 6).map(lambda n: n / 6), min_size=1, max_size=30).map(np.array)


def test_the_papers_rule():
    chosen = select(SCORES, KeepRule(PAPER_THRESHOLD))
    assert chosen.keep.tolist() == [True, False, True, False, False] and chosen.threshold == 0.6
    assert chosen.reasons == (None, "score 0.31 < 0.60", None, "score 0.599 < 0.600", "score 0.05 < 0.60")
    assert chosen.ties == 1 and chosen.judged.all()


@given(some_scores, st.sampled_from([0.1, 0.3, 0.5, 0.8, 1.0]), st.randoms(use_true_random=False))
def test_a_share_is_of_the_best_and_equal_scores_share_one_fate(scores, share, random):
    chosen = select(scores, KeepRule(keep_share=share))
    wanted = max(1, round(share * len(scores)))
    kept = np.sort(scores)[::-1][:wanted]
    assert chosen.threshold == kept[-1]
    assert chosen.keep.tolist() == [bool(s >= kept[-1]) for s in scores]
    assert wanted <= chosen.keep.sum() == wanted + (scores == kept[-1]).sum() - (kept == kept[-1]).sum()
    order = list(range(len(scores)))
    random.shuffle(order)
    again = select(scores[order], KeepRule(keep_share=share))
    assert (again.keep == chosen.keep[order]).all()


@given(some_scores, st.integers(0, 6))
def test_a_share_is_the_threshold_it_finds(scores, sixths):
    by_share = select(scores, KeepRule(keep_share=0.5))
    assert (select(scores, KeepRule(by_share.threshold)).keep == by_share.keep).all()
    by_score = select(scores, KeepRule(sixths / 6))
    assert all((reason is None) == kept for reason, kept in zip(by_score.reasons, by_score.keep, strict=True))


def test_labels_without_evidence_have_no_score():
    judged = np.array([True, True, False, True, True])
    scores = np.where(judged, SCORES, np.nan)
    chosen = select(scores, KeepRule(keep_share=0.5), judged=judged)
    assert chosen.keep.tolist() == [True, False, False, True, False]  # two of four judged ones
    assert chosen.reasons[2] == NO_EVIDENCE
    assert chosen.reasons[1] == "score 0.31 < 0.60 (the best 50 %)"
    kept = select(scores, KeepRule(0.5), judged=judged, keep_unjudged=True)
    assert kept.keep.tolist() == [True, False, True, True, False] and kept.reasons[2] is None
    nothing = select(scores, KeepRule(0.5), judged=np.zeros(5, bool))
    assert not nothing.keep.any() and set(nothing.reasons) == {NO_EVIDENCE}
    with pytest.raises(InputError, match="no label could be judged"):
        select(scores, KeepRule(keep_share=0.5), judged=np.zeros(5, bool))


def test_the_parts_of_a_mix_are_told():
    parts = {"reprojection": np.full(5, -0.25), "silhouette": np.array([0.5, np.nan, 0.5, 0.5, 0.5])}
    chosen = select(SCORES, KeepRule(0.4), parts=parts)
    assert chosen.reasons[1] == "score 0.31 < 0.40; reprojection -0.25, nothing from silhouette"
    assert chosen.reasons[4] == "score 0.05 < 0.40; reprojection -0.25, silhouette 0.50"


def test_scores_that_differ_in_the_last_digits_are_told_apart():
    just = np.nextafter(0.6, 0)
    reason = select(np.array([just]), KeepRule(0.6)).reasons[0]
    said, bound = reason.removeprefix("score ").split(" < ")
    assert said != bound and float(said) < float(bound)
    assert select(np.array([-0.127395]), KeepRule(-0.127172)).reasons == ("score -0.1274 < -0.1272",)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "exactly one"),
        ({"threshold": 0.5, "keep_share": 0.5}, "exactly one"),
        ({"outliers": 2.5, "keep_share": 0.5}, "exactly one"),
        ({"threshold": float("nan")}, "finite"),
        ({"outliers": 0.0}, "positive"),
        ({"keep_share": 0.0}, "at most 1"),
        ({"keep_share": 1.1}, "at most 1"),
        ({"keep_share": float("nan")}, "at most 1"),
        ({"margin": -0.1}, "at least 0"),
        ({"margin": float("nan")}, "at least 0"),
        ({"margin": 0.1, "threshold": 0.5}, "exactly one"),
    ],
)
def test_a_rule_that_is_none(arguments, words):
    with pytest.raises(InputError, match=words):
        KeepRule(**arguments)


def test_scores_that_are_none():
    for bad in (np.nan, np.inf):
        with pytest.raises(InputError, match="item 1"):
            select(np.array([0.5, bad]), KeepRule(0.1))
    with pytest.raises(InputError, match="no scores"):
        select(np.array([]), KeepRule(0.1))
    with pytest.raises(InputError, match="3 marks"):
        select(SCORES, KeepRule(0.1), judged=np.ones(3, bool))
    with pytest.raises(InputError, match="part 'x' has 2 scores"):
        select(SCORES, KeepRule(0.1), parts={"x": np.zeros(2)})


def test_at_least_one_is_kept():
    assert share_threshold(np.array([0.1, 0.2, 0.3]), 0.01) == 0.3


# -- outliers ----------------------------------------------------------------------------------------------------------


def normal_scores(n=4000, mean=0.5, sd=0.04):
    return np.random.default_rng(0).normal(mean, sd, n)


@pytest.mark.parametrize("bad_share", [0.0, 0.15, 0.4])
def test_the_threshold_of_outliers_does_not_follow_the_bad_labels(bad_share):
    scores = normal_scores()
    bad = np.arange(4000) < bad_share * 4000
    scores[bad] = np.random.default_rng(1).normal(0.15, 0.08, bad.sum())
    assert outlier_threshold(scores, 2.5) == pytest.approx(0.5 - 2.5 * 0.04, abs=0.04)
    chosen = select(scores, KeepRule(outliers=2.5))
    assert chosen.keep[~bad].mean() > 0.95 and not chosen.keep[bad].sum() > 0.05 * bad.sum()


def test_outliers_follow_the_scale():
    scores = normal_scores(500)
    for factor, shift in ((3.0, 0.0), (1.0, -7.0), (0.1, 2.0)):
        assert outlier_threshold(factor * scores + shift) == pytest.approx(factor * outlier_threshold(scores) + shift)
    assert "2.5 deviations below the usual" in select(np.append(scores, -1.0), KeepRule(outliers=2.5)).reasons[-1]


def test_the_mode_is_where_values_are_densest():
    assert half_sample_mode(np.sort(np.r_[np.linspace(0, 1, 50), np.full(20, 0.7)])) == pytest.approx(0.7, abs=0.02)
    assert half_sample_mode(np.array([1.0])) == 1.0 and half_sample_mode(np.array([1.0, 2.0])) == 1.5


def test_a_silent_critic_finds_no_outliers_and_few_labels_are_not_judged_by_what_is_usual():
    assert select(np.full(30, -0.5), KeepRule(outliers=2.5)).keep.all()
    with pytest.raises(InputError, match="19 judged labels: too few"):
        outlier_threshold(np.zeros(19))


# -- margins -----------------------------------------------------------------------------------------------------------


@given(some_scores, st.floats(0, 0.5), st.randoms(use_true_random=False))
def test_a_margin_looks_at_the_distance_from_the_reference_alone(scores, margin, random):
    reference = np.array([random.random() for _ in scores])
    chosen = select(scores, KeepRule(margin=margin), reference=reference)
    assert chosen.keep.tolist() == [s - r >= -margin for s, r in zip(scores, reference, strict=True)]
    assert chosen.threshold == -margin and (chosen.levels == scores - reference).all()
    moved = select(scores + 0.25, KeepRule(margin=margin), reference=reference + 0.25)
    assert np.allclose(moved.levels, chosen.levels)


def test_the_reason_of_a_margin_says_what_the_score_was_held_against():
    chosen = select(np.array([0.3, 0.3]), KeepRule(margin=0.03), reference=np.array([0.25, 0.4]))
    assert chosen.reasons == (
        None,
        "score less the samples' -0.10 < -0.03 (against the mean of samples on the same keypoints)",
    )


def test_a_margin_needs_a_reference_of_every_label():
    with pytest.raises(InputError, match="there are none"):
        select(SCORES, KeepRule(margin=0.1))
    with pytest.raises(InputError, match="3 reference scores for 5"):
        select(SCORES, KeepRule(margin=0.1), reference=np.zeros(3))


def test_the_defaults_are_those_of_the_committed_measurement():
    result = Path(__file__).parents[2] / "docs/results/cleaning_rules.json"
    assert json.loads(result.read_text())["best_margins"] == DEFAULT_MARGINS
