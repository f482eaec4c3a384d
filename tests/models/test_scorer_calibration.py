import numpy as np
import pytest
import torch

from hmralign.models.scorer_calibration import Calibration, fit_calibration, quality
from hmralign.structures import InputError


def test_quality_of_no_error_is_one_and_of_ten_centimetres_one_over_e():
    torch.testing.assert_close(quality(torch.tensor([0.0, 0.1])), torch.tensor([1.0, 0.36788]), atol=1e-4, rtol=0)


def test_scores_rise_strictly_stay_inside_and_pass_through_the_knots():
    c = Calibration((-1.0, 0.5, 2.0), (0.1, 0.5, 0.8))
    x = torch.linspace(-8, 8, 400)
    y = c(x)
    assert (y.diff() > 0).all() and (y > 0).all() and (y < 1).all()
    torch.testing.assert_close(c(torch.tensor([-1.0, 0.5, 2.0])), torch.tensor([0.1, 0.5, 0.8]))


def test_it_is_differentiable_on_every_piece():
    x = torch.tensor([-3.0, 0.0, 1.0, 5.0], requires_grad=True)
    Calibration((-1.0, 0.5, 2.0), (0.1, 0.5, 0.8))(x).sum().backward()
    assert x.grad is not None and (x.grad > 0).all()


def test_a_fit_finds_the_expected_quality():
    draw = np.random.default_rng(0)
    outputs = draw.uniform(-2, 2, 20_000)
    mpjpe = 0.1 * np.exp(-outputs) * draw.uniform(0.8, 1.2, 20_000)
    c = fit_calibration(outputs, mpjpe)
    for at in (-1.0, 0.0, 1.0):
        near = np.abs(outputs - at) < 0.05
        assert float(c(torch.tensor(at))) == pytest.approx(np.exp(-mpjpe[near] / 0.1).mean(), abs=0.03)


def test_a_fit_on_noise_still_rises():
    draw = np.random.default_rng(1)
    c = fit_calibration(draw.normal(size=500), draw.uniform(0, 1, 500))
    assert (np.diff(c.scores) > 0).all() and c.scores[-1] < 1


def test_a_fit_on_perfect_hypotheses_stays_below_one():
    c = fit_calibration(np.arange(200.0), np.zeros(200))
    assert (np.diff(c.scores) > 0).all() and 0 < c.scores[0] and c.scores[-1] < 1


@pytest.mark.parametrize(
    ("outputs", "scores"),
    [((0.0,), (0.5,)), ((0.0, 0.0), (0.4, 0.5)), ((0.0, 1.0), (0.5, 0.5)), ((0.0, 1.0), (0.0, 0.5)),
     ((0.0, 1.0), (0.5, 1.0)), ((0.0, float("inf")), (0.4, 0.5))],
)  # fmt: skip
def test_knots_without_meaning_are_refused(outputs, scores):
    with pytest.raises(InputError):
        Calibration(outputs, scores)


def test_too_few_or_equal_outputs_are_refused():
    for outputs in (np.arange(10.0), np.zeros(500)):
        with pytest.raises(InputError, match="calibration needs"):
            fit_calibration(outputs, np.full(len(outputs), 0.1))
