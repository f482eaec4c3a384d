"""Training of the gate: a resumed run is the straight run, the scale is the likeliest one, nonsense is refused."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from hmralign.data.synthetic.observation_noise import Failures
from hmralign.models.side_gate import FACE, SideGateConfig, SideGateNetwork, load_side_gate
from hmralign.storage.presets import preset_path
from hmralign.structures import InputError
from hmralign.training import side_gate
from hmralign.training.configuration import read_config
from hmralign.training.side_gate import (
    MIX,
    SideGateTrainingConfig,
    fitted_scale,
    gate_inputs,
    side_loss,
    train_side_gate_file,
)

ROOT = Path(__file__).parents[2]

SMALL = SideGateTrainingConfig(
    model=SideGateConfig(width=24, depth=1), persons=3000, calibration_persons=400, batch_size=128, steps=150,
    learning_rate=5e-3, ema_decay=0.9, save_every=50,
)  # fmt: skip


def test_a_resumed_run_is_the_straight_run_and_learns(tmp_path):
    straight = train_side_gate_file(SMALL, tmp_path / "straight")
    whole = side_gate.falling_loop
    with pytest.MonkeyPatch.context() as patch:  # a run that ends early, at the rates of the whole one
        patch.setattr(
            side_gate, "falling_loop", lambda *given, **more: dataclasses.replace(whole(*given, **more), steps=100)
        )
        train_side_gate_file(SMALL, tmp_path / "resumed")
    resumed = train_side_gate_file(SMALL, tmp_path / "resumed")
    first, gate = load_side_gate(straight), load_side_gate(resumed)
    assert first.scale == gate.scale
    for one, other in zip(first.network.parameters(), gate.network.parameters(), strict=True):
        assert torch.equal(one, other)
    held_out = gate_inputs(SMALL, "val", 300)
    assert float(side_loss(gate.network, held_out).mean()) < 0.68  # ln 2 knows nothing
    assert gate.scale > 0 and gate.trained_on == ("prior:train",)


def test_the_scale_is_the_likeliest():
    draw = np.random.default_rng(0)
    x = torch.from_numpy(draw.normal(-1.0, 2.0, 500))
    oracle = minimize_scalar(
        lambda s: float(torch.nn.functional.softplus(s * x).mean()), bounds=(0, 10), method="bounded"
    )
    assert fitted_scale(x) == pytest.approx(getattr(oracle, "x"), abs=1e-3)  # noqa: B009


@pytest.mark.parametrize("outputs", [torch.zeros(10), torch.ones(10), torch.tensor([-1.0, float("nan")])])
def test_outputs_that_tell_nothing_are_refused(outputs):
    with pytest.raises(InputError, match="nothing to calibrate"):
        fitted_scale(outputs)


def test_the_loss_is_what_exchanged_persons_would_teach():
    network, inputs = SideGateNetwork(SideGateConfig(16, 1)), gate_inputs(SMALL, "val", 50)
    exchanged = -network.difference(inputs)  # the answer for the exchanged ones, whose label is 1
    as_taught = torch.nn.functional.binary_cross_entropy_with_logits(exchanged, torch.ones(50), reduction="none")
    torch.testing.assert_close(side_loss(network, inputs), as_taught)


def test_faces_are_hidden_as_asked_and_sides_are_right():
    hidden = gate_inputs(dataclasses.replace(SMALL, hidden_face=1.0), "val", 50)[:, :108].unflatten(-1, (27, 4))
    assert not hidden[:, list(FACE)].any() and bool(hidden.any())
    assert MIX.failures.swap_all == 0


@pytest.mark.parametrize(
    "bad",
    [
        {"steps": 0},
        {"persons": 10},
        {"hidden_face": 1.5},
        {"measured_noise": ()},
        {"data": dataclasses.replace(MIX, failures=Failures())},
    ],
)
def test_configurations_without_meaning_are_refused(bad):
    with pytest.raises(InputError, match="gate training"):
        SideGateTrainingConfig(**bad)


def test_the_committed_configuration_is_read():
    config = read_config(SideGateTrainingConfig, preset_path("gate", "sides"))
    assert config.measured_noise == ("mediapipe_heavy", "mediapipe") and config.data.failures.swap_all == 0
