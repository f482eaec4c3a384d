"""A run is stopped at each of its bars, neither before nor after, and by nothing that was not looked at."""

import pytest

from hmralign.training.guard import guard
from hmralign.training.preference_configuration import PreferenceTrainingConfig

START = {"held_out": 0.5, "held_out_std": 0.1, "spread": 0.2}


@pytest.mark.parametrize(
    ("bar", "figure", "fine", "wrong", "words"),
    [
        ({"max_loss_ratio": 2.0}, "loss_ratio", 1.99, 2.01, "the loss is 2.01 times"),
        ({"max_loss_ratio": 3.0}, "loss_ratio", 2.99, 3.01, "the loss is 3.01 times"),
        ({"max_drop": 1.0}, "held_out", 0.401, 0.399, "the held-out score fell by 0.101"),
        ({"max_drop": 0.5}, "held_out", 0.451, 0.449, "the held-out score fell by 0.051"),
        ({"min_spread": 0.5}, "spread", 0.101, 0.098, "fell to 49% of the start's"),
        ({"min_spread": 0.8}, "spread", 0.161, 0.158, "fell to 79% of the start's"),
    ],
)
def test_each_bar_stops_where_it_stands(bar, figure, fine, wrong, words):
    config = PreferenceTrainingConfig(**bar)
    assert guard({figure: fine}, START, config) is None
    assert words in (guard({figure: wrong}, START, config) or "")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stops_always(value):
    assert guard({"anything": value}, {}, PreferenceTrainingConfig()) == "anything is not finite"


def test_what_was_not_measured_is_not_judged():
    assert guard({}, START, PreferenceTrainingConfig()) is None
    assert guard({"held_out": -9.0, "spread": 0.0}, {}, PreferenceTrainingConfig()) is None


def test_hypotheses_all_alike_are_not_judged_by_less_than_the_smallest_spread():
    alike = {**START, "held_out_std": 0.0}
    config = PreferenceTrainingConfig(max_drop=1.0)
    assert guard({"held_out": 0.491}, alike, config) is None and guard({"held_out": 0.489}, alike, config)
