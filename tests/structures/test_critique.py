import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmralign.structures import Critique, Finding, InputError


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_score_is_from_0_to_100_or_refused(score):
    if 0 <= score <= 100:
        assert Finding(3, score).score == score
    else:
        with pytest.raises(InputError, match="hypothesis 3 has the score"):
            Finding(3, score)


def test_the_ends_are_scores_and_what_is_no_number_is_none():
    assert Finding(0, 0.0).score == 0 and Finding(0, 100.0).score == 100
    for score in (math.nan, -1e-9, 100.0001):
        with pytest.raises(InputError):
            Finding(0, score)


@given(st.lists(st.integers(0, 5), max_size=6))
def test_a_call_judges_each_hypothesis_once(hypotheses):
    findings = tuple(Finding(h, 50.0) for h in hypotheses)
    if len(set(hypotheses)) == len(hypotheses):
        assert Critique(findings).findings == findings
    else:
        with pytest.raises(InputError, match="judged a hypothesis twice"):
            Critique(findings)
