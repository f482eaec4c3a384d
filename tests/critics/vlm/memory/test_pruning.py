import pytest

from hmralign.critics.vlm.memory.credit import EffectOptions, RuleEffect
from hmralign.critics.vlm.memory.pruning import (
    PruningOptions,
    RetirementOptions,
    retirements,
    rules_to_keep,
    rules_to_retire,
)
from hmralign.structures import InputError, Rule
from hmralign.structures.counted import counted


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


def effect(name, mean, uses=40):
    return RuleEffect(name, mean, 0.02, mean - 0.03, mean + 0.03, uses)


EFFECTS = [effect("good", 0.2), effect("even", 0.0), effect("bad", -0.2), effect("few", -0.1, 5), effect("gone", -0.5)]


def test_rules_that_do_harm_go_and_the_reason_is_given():
    reasons = retirements(KNOWN, EFFECTS)
    assert set(reasons) == {"bad", "few"}  # `gone` is not shown any more
    assert reasons["bad"] == "changes the rank correlation by -0.200 (-0.230 to -0.170) in 40 uses"
    strict = RetirementOptions(EffectOptions(tolerance=0.1, min_uses=6))
    assert set(retirements(KNOWN, EFFECTS, options=strict)) == {"bad"}


def test_the_worse_of_two_opposites_goes_though_it_does_no_harm():
    reasons = retirements(KNOWN, EFFECTS, [("even", "good"), ("even", "gone"), ("good", "new")])
    assert set(reasons) == {"bad", "few", "even"} and "opposite of rule good" in reasons["even"]


def test_beyond_the_cap_the_least_promising_go_and_the_untried_last():
    for cap, gone in ((3, set()), (2, {"even"}), (1, {"even", "good"})):
        reasons = retirements(KNOWN, EFFECTS, options=RetirementOptions(max_rules=cap))
        assert set(reasons) == {"bad", "few"} | gone, cap
        assert all(f"more than {counted(cap, 'rule')}" in reasons[name] for name in gone)


def test_what_is_left_gives_nothing_more_to_retire():
    options, conflicts = RetirementOptions(max_rules=2), [("even", "good")]
    reasons = retirements(KNOWN, EFFECTS, conflicts, options)
    left = [rule for rule in KNOWN if rule.id not in reasons]
    assert left and retirements(left, EFFECTS, conflicts, options) == {}
    assert retirements([], [], [], options) == {}


def test_wrong_settings_are_named():
    with pytest.raises(InputError, match="at most 0 rules"):
        PruningOptions(max_rules=0)
    with pytest.raises(InputError, match="at most 0 rules"):
        RetirementOptions(max_rules=0)
