"""Gates of the multi-view base run on a tiny model, and say what they found."""

import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hmralign.models.multiview.judge import Judge, JudgeConfig, ViewReader
from hmralign.models.multiview.view_transformer import ViewTransformer, ViewTransformerConfig
from hmralign.policies.multiview import MultiViewPolicy
from hmralign.rendering.ring import RingCameras
from hmralign.training.multiview_base import MultiViewTrainingConfig, view_persons

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "multiview"))

import gates

MODEL = ViewTransformerConfig(views=2, size=16, patch=8, width=24, depth=1, heads=2, head_channels=4)
RING = RingCameras(azimuths=(0.0, 90.0), size=16, supersampling=1)
CONFIG = MultiViewTrainingConfig(
    model=MODEL, ring=RING, persons=3, batch_size=2, steps=2, max_cpu_minutes=0.002, learning_rate=1e-4
)


@pytest.fixture(scope="module")
def judge():
    torch.manual_seed(0)
    return Judge(ViewReader(JudgeConfig(width=8, depth=1)).eval(), RING.rotations, RING.pixels_per_metre)


@pytest.fixture(scope="module")
def base():
    torch.manual_seed(0)
    return MultiViewPolicy(ViewTransformer(MODEL).eval().requires_grad_(False), num_steps=2)


def test_bodies_that_are_not_learned_do_not_pass(judge, tmp_path):
    found = gates.overfit(judge, CONFIG, tmp_path)
    assert found["persons"] == 3 and found["passes"] == (found["made_mm"] - found["true_mm"] <= 2)
    assert "(i)" in gates.text_of({"overfit": found})


def test_somebody_who_is_in_the_bank_is_found_there(judge, base):
    """Retrieval of training persons gives their own true views: the control is as strong as memory can be."""
    bank = view_persons(CONFIG, 12, "base")
    found = gates.held_out(judge, base, bank, bank)
    assert found["rows"]["retrieval by image"] == found["rows"]["true views"]
    assert sum(found["persons"].values()) == 12 and found["bank"] == 12
    text = gates.text_of({"held-out": found})
    assert "(iii)" in text and "Base minus retrieval, hard" in text


def test_a_model_that_is_told_the_pose_begins_as_the_base_and_learns_to_listen(judge, base, tmp_path):
    persons = view_persons(CONFIG, 4, "base")
    x_T = torch.randn(4, 1, base.dims, generator=torch.Generator().manual_seed(0))
    t = torch.full((4, 1), 500)
    before = base.predict_x_0(x_T, t, base.context(persons.pixels[:, 0].float()))
    told = gates.Told(deepcopy(base))
    context = told.context(gates.told(persons, RING))
    torch.testing.assert_close(told.predict_x_0(x_T, t, context), before)
    found = gates.bound(judge, deepcopy(base), persons, persons, CONFIG, tmp_path)
    assert set(found["rows"]) == {"true views", "told the pose"}
    state = torch.load(tmp_path / "bound.pt", weights_only=True)
    assert float(state["model"]["network.patches.weight"][:, 4:].abs().max()) > 0
    assert "(ii)" in gates.text_of({"bound": found})


def test_a_regression_is_trained_at_the_last_time_alone_and_leaves_the_base(judge, base, tmp_path, monkeypatch):
    persons, before, times = view_persons(CONFIG, 4, "base"), deepcopy(base.state_dict()), []
    seen = MultiViewPolicy.view_loss

    def watched(policy, x_0, t, eps, context):
        times.append(t)
        return seen(policy, x_0, t, eps, context)

    monkeypatch.setattr(MultiViewPolicy, "view_loss", watched)
    found = gates.regressed(judge, base, persons, persons, CONFIG, tmp_path)
    assert {int(t.min()) for t in times} == {base.schedule.num_steps - 1}
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())
    whole = gates.held_out(judge, base, persons, persons)
    assert gates.REGRESSION in gates.text_of({"held-out": whole, "regression": found})


def test_sides_that_ignore_the_front_overlap_wholly_from_one_noise(tmp_path):
    four, ring = replace(MODEL, views=4), RingCameras(size=16, supersampling=1)
    persons = view_persons(replace(CONFIG, model=four, ring=ring), 8, "base")
    network = ViewTransformer(four).eval().requires_grad_(False)

    class Blind(MultiViewPolicy):
        def context(self, front):
            return super().context(torch.zeros_like(front))

    class Seeing(MultiViewPolicy):
        def sample(self, context, num_hypotheses, generator):
            return self.from_views(context[:, None, None].expand(-1, 1, 4, -1, -1, -1))

    blind = gates.sides(Blind(network, num_steps=2), persons, tmp_path / "sides.png")
    made = "made for two persons from one noise"
    assert blind["persons"] == 8 and blind["rows"][made][0] == pytest.approx(1.0, abs=1e-4)
    seeing = gates.sides(Seeing(network), persons)
    assert seeing["rows"][made][0] < 0.9 and (tmp_path / "sides.png").stat().st_size > 0
    assert "Do sides hang on the front" in gates.text_of({"sides": blind})


def test_trainings_differ_in_the_reader_alone(judge, tmp_path, monkeypatch):
    monkeypatch.setattr(gates, "READERS", {"none": (0, 0.0), "told": (8, 1.0)})
    found = gates.with_and_without_reader(judge, replace(CONFIG, max_cpu_minutes=None), 12, tmp_path)
    assert found["persons"] == 12 and found["bank"] == 3 and found["steps"] == 2
    assert {path.name for path in tmp_path.iterdir()} == {"reader 0 0", "reader 8 1"}
    assert set(found["rows"]["told"]) == {"mm, ordinary", "mm, hard", "exchanged, ordinary", "exchanged, hard"}
    assert "What makes sides depend on the front" in gates.text_of({"reader": found})
