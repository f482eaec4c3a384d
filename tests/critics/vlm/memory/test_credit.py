import numpy as np
import pytest

from hmralign.critics.vlm.memory.credit import (
    EffectOptions,
    RuleEffect,
    harmful_rules,
    helpful_rules,
    rule_effects,
    worse_of_conflicts,
)
from hmralign.critics.vlm.memory.records import NewRule
from hmralign.critics.vlm.memory.store import Memory
from hmralign.structures import InputError
from support.memory_builder import episode

RULES = tuple(NewRule(f"If case {'abcdefgh'[i]} is seen, deduct points", ("legs",), "m") for i in range(8))
TRUE = np.array([0.2, 0.12, 0.0, 0.0, 0.0, 0.0, -0.12, -0.25])


def explore(memory, episodes=150, noise=0.12, controls=False, seed=0):
    """Four of the rules per episode, every fifth without any."""
    draw = np.random.default_rng(seed)
    memory.add_rules(RULES, "now")
    for number in range(episodes):
        shown = [] if number % 5 == 0 else draw.permutation(8)[:4].tolist()
        rho = float(np.clip(0.4 + TRUE[shown].sum() + noise * draw.normal(), -1, 1))
        measured = shown[:1] if controls else []
        pairs = [(RULES[i].id, float(TRUE[i] + 1.4 * noise * draw.normal())) for i in measured]
        rest = [RULES[i].id for i in shown if i not in measured]
        memory.commit(episode(f"e{number:03d}", rho, rest, controls=pairs))
    return memory.episodes(), memory.log()


def by_rule(effects):
    found = {e.rule: e for e in effects}
    return [found[rule.id] for rule in RULES]


def test_effects_are_told_apart_though_the_credit_is_shared(tmp_path):
    with Memory.open(tmp_path / "m") as memory:
        effects = by_rule(rule_effects(*explore(memory)))
    estimates = np.array([e.mean for e in effects])
    errors = np.array([e.standard_error for e in effects])
    np.testing.assert_allclose(estimates, TRUE, atol=0.08)
    assert (np.abs(estimates - TRUE) / errors).max() < 3.5 and errors.max() < 0.05
    assert all(e.low < e.mean < e.high for e in effects)
    assert {RULES[6].id, RULES[7].id} <= set(harmful_rules(effects)) and RULES[0].id not in harmful_rules(effects)
    assert helpful_rules(effects, 2) == (RULES[0].id, RULES[1].id)


def test_it_is_ridge_regression_with_noise_that_fits(tmp_path):
    with Memory.open(tmp_path / "m") as memory:
        episodes, log = explore(memory, 80)
        effects = by_rule(rule_effects(episodes, log))
    rho = np.array([e.rho for e in episodes])
    shown = np.array([[float(rule.id in e.rules) for rule in RULES] for e in episodes])
    design = np.hstack([shown, np.ones((len(rho), 1))])
    best = None
    for noise in np.linspace(0.05, 0.3, 500):  # marginal likelihood, all else written out
        ridge = np.diag([noise / 0.1] * 8 + [0.0])
        mean = np.linalg.lstsq(np.vstack([design, ridge]), np.concatenate([rho, np.zeros(9)]), rcond=None)[0]
        covariance = 0.01 * shown @ shown.T + noise**2 * np.eye(len(rho)) + 100.0
        value = -0.5 * (rho @ np.linalg.solve(covariance, rho)) - 0.5 * np.linalg.slogdet(covariance)[1]
        best = (value, mean) if best is None or value > best[0] else best
    np.testing.assert_allclose([e.mean for e in effects], best[1][:8], atol=0.01)


def test_controls_make_it_surer(tmp_path):
    errors = []
    for controls in (False, True):
        with Memory.open(tmp_path / str(controls)) as memory:
            effects = by_rule(rule_effects(*explore(memory, controls=controls)))
            errors.append(np.mean([e.standard_error for e in effects]))
            np.testing.assert_allclose([e.mean for e in effects], TRUE, atol=0.08)
    assert errors[1] < errors[0]


def with_controls(memory, values):
    """Twelve episodes, six of them with the first rule, and that many of these judged without it too."""
    memory.add_rules(RULES, "now")
    for number in range(12):
        pairs = [(RULES[0].id, values[number])] if number < len(values) else []
        rules = [RULES[0].id] if len(values) <= number < 6 else []
        memory.commit(episode(f"e{number:03d}", 0.4 + 0.1 * (-1) ** number, rules, controls=pairs))
    return rule_effects(memory.episodes(), memory.log())


@pytest.mark.parametrize("values", [[-0.06], [-0.06, -0.06], [-0.3], [-0.2, -0.15], [-0.06] * 4])
def test_few_controls_do_not_retire_a_rule_without_effect(tmp_path, values):
    with Memory.open(tmp_path / "m") as memory:
        (effect,) = with_controls(memory, values)
    assert harmful_rules([effect]) == {} and effect.controls == len(values)
    assert effect.standard_error > 0.03


def test_few_controls_do_not_keep_a_rule_without_effect(tmp_path):
    with Memory.open(tmp_path / "m") as memory:
        assert helpful_rules(with_controls(memory, [0.06, 0.06]), 5) == ()


def test_harm_that_is_large_and_repeated_retires_a_rule(tmp_path):
    with Memory.open(tmp_path / "m") as memory:
        (effect,) = with_controls(memory, [-0.3, -0.25, -0.35, -0.3, -0.28, -0.32])
    assert set(harmful_rules([effect])) == {RULES[0].id} and effect.mean < -0.08


def test_little_evidence_leaves_little_effect(tmp_path):
    with Memory.open(tmp_path / "m") as memory:
        effects = rule_effects(*explore(memory, 6))
        assert max(abs(e.mean) for e in effects) < 0.15 and min(e.standard_error for e in effects) > 0.04
        assert helpful_rules(effects, 5, EffectOptions(min_uses=10)) == ()
        assert harmful_rules(effects, EffectOptions(min_uses=10)) == {}


def test_nothing_was_shown(tmp_path):
    with Memory.open(tmp_path / "m") as memory:
        memory.commit(episode("a"))
        assert rule_effects(memory.episodes(), memory.log()) == ()


def test_conflicts_and_retired_rules_are_left_out(tmp_path):
    with Memory.open(tmp_path / "m") as memory:
        effects = rule_effects(*explore(memory))
    first, second = RULES[0].id, RULES[1].id
    assert helpful_rules(effects, 2, conflicts=[(second, first)])[0] == first
    assert second not in helpful_rules(effects, 5, conflicts=[(second, first)])
    assert helpful_rules(effects, 5, among=[second]) == (second,)


def test_harm_within_the_tolerance_is_put_up_with():
    effects = [RuleEffect("bad", -0.2, 0.05, -0.28, -0.12, 9, 3)]
    assert "in 9 uses, 3 of them also judged without it" in harmful_rules(effects)["bad"]
    assert set(harmful_rules(effects, EffectOptions(tolerance=0.119))) == {"bad"}
    assert harmful_rules(effects, EffectOptions(tolerance=0.121)) == {}
    assert harmful_rules(effects, EffectOptions(min_uses=10)) == {}


def test_of_two_that_say_the_opposite_the_worse_one_goes_once_it_is_shown():
    def effect(name, mean, error=0.02, uses=9):
        return RuleEffect(name, mean, error, mean - error, mean + error, uses)

    pair = [("a", "b")]
    assert set(worse_of_conflicts([effect("a", 0.1), effect("b", 0.2)], pair)) == {"a"}
    assert set(worse_of_conflicts([effect("a", 0.2), effect("b", 0.1)], pair)) == {"b"}
    assert worse_of_conflicts([effect("a", 0.1, 0.1), effect("b", 0.2, 0.1)], pair) == {}
    assert worse_of_conflicts([effect("a", 0.1, uses=3), effect("b", 0.2)], pair) == {}
    assert worse_of_conflicts([effect("b", 0.2)], pair) == worse_of_conflicts([], []) == {}
    # The bounds of the difference are those of two independent normal numbers.
    half = 1.2815515655446004 * (0.02**2 + 0.03**2) ** 0.5
    for gap, gone in ((half + 1e-6, {"a"}), (half - 1e-6, set())):
        assert set(worse_of_conflicts([effect("a", 0.0), effect("b", gap, 0.03)], pair)) == gone


def test_wrong_settings_are_named():
    with pytest.raises(InputError, match=r"prior 0\.0"):
        EffectOptions(prior_std=0.0)
    with pytest.raises(InputError, match=r"tolerance -0\.1"):
        EffectOptions(tolerance=-0.1)
