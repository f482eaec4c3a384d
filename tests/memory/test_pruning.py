import pytest

from hmralign.memory.pruning import PruningOptions, rules_to_keep, rules_to_retire
from hmralign.structures import InputError, Rule


def rules(**counts):
    return [Rule(name, name, ("legs",), uses, wins) for name, (uses, wins) in counts.items()]


KNOWN = rules(good=(40, 34), even=(40, 20), bad=(40, 6), few=(5, 0), new=(0, 0))


def test_what_is_worse_than_the_baseline_goes():
    assert set(rules_to_retire(KNOWN, 0.5)) == {"bad"}
    assert "6 successes of 40" in rules_to_retire(KNOWN, 0.5)["bad"]


def test_the_lower_bound_also_retires_what_is_only_average():
    assert set(rules_to_retire(KNOWN, 0.5, PruningOptions(bound="lower"))) == {"bad", "even"}


def test_beyond_the_cap_the_worst_go_and_never_the_untried():
    reasons = rules_to_retire(KNOWN, 0.0, PruningOptions(max_rules=2))
    assert set(reasons) == {"bad", "even", "few"} and "more than 2" in reasons["bad"]


def test_kept_are_those_shown_to_be_better():
    assert rules_to_keep(KNOWN, 0.3, 5) == ("good", "even")
    assert rules_to_keep(KNOWN, 0.3, 1) == ("good",)
    assert rules_to_keep(KNOWN, 0.9, 5) == ()
    assert rules_to_keep(KNOWN, 0.3, 5, conflicts=[("even", "good")]) == ("good",)
    assert rules_to_keep([], 0.3, 5) == ()


def test_wrong_settings_are_named():
    with pytest.raises(InputError, match="at most 0 rules"):
        PruningOptions(max_rules=0)
