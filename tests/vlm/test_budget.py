import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmralign.structures import InputError
from hmralign.vlm.budget import Budget, Ledger
from hmralign.vlm.chat import Usage
from hmralign.vlm.errors import BudgetError
from hmralign.vlm.journal import Journal
from hmralign.vlm.prices import Price


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    with Journal.open(tmp_path_factory.mktemp("budget") / "j") as journal:
        yield journal


@settings(derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 900), st.floats(0, 1)), min_size=1, max_size=40), st.integers(0, 5000))
def test_what_is_used_never_exceeds_the_budget_where_promises_hold(journal, calls, most):
    ledger, used = Ledger(Budget(max_tokens=most), None, journal, "m"), 0
    for tokens, share in calls:
        try:
            ledger.promise(Usage(tokens, 0))
        except BudgetError:
            assert used + tokens > most
            continue
        real = int(tokens * share)
        ledger.settle(Usage(tokens, 0), Usage(real, 0))
        used += real
        assert used <= most and ledger.tokens == used


def test_promises_of_calls_in_flight_count(journal):
    ledger = Ledger(Budget(max_cost=1.0), Price(1.0, 1.0), journal, "m")
    half = Usage(300_000, 200_000)
    ledger.promise(half)
    ledger.promise(half)
    with pytest.raises(BudgetError, match="cost"):
        ledger.promise(half)
    assert ledger.settle(half, Usage(100_000, 0)) == pytest.approx(0.1)
    ledger.promise(Usage(400_000, 0))
    assert ledger.calls == 3


def test_a_budget_of_nothing_lets_nothing_through_and_no_budget_everything(journal):
    with pytest.raises(BudgetError):
        Ledger(Budget(max_calls=0), None, journal, "m").promise(Usage(1, 1))
    ledger = Ledger(Budget(), None, journal, "m")
    for _ in range(100):
        ledger.promise(Usage(10**9, 10**9))
    assert ledger.settle(Usage(1, 1), Usage(1, 1)) is None


def test_a_budget_below_zero_is_refused():
    for changes in ({"max_calls": -1}, {"max_cost": float("nan")}, {"max_tokens": -5}):
        with pytest.raises(InputError):
            Budget(**changes)
