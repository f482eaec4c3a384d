"""Shares are disjoint, complete and even, whatever N is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmralign.engines.share import WHOLE, Share
from hmralign.structures import InputError


@given(st.integers(0, 200), st.integers(1, 40))
def test_shares_make_up_the_work_once(units, count):
    shares = [Share(number, count).numbers(units) for number in range(1, count + 1)]
    assert sorted(n for share in shares for n in share) == list(range(units))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_text():
    assert Share.of_text("3/8") == Share(3, 8) and str(Share(3, 8)) == "3/8" and list(WHOLE.numbers(3)) == [0, 1, 2]


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/0", "a/b", "1", "1/2/3", "-1/4", "1 /4", "", "1/9999999999"])
def test_what_is_no_share(text):
    with pytest.raises(InputError, match="K/N"):
        Share.of_text(text)
