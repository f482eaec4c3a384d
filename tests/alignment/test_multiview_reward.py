"""Fine-tuning of a multi-view model by its reward: gradients, guard, controls, resuming, and what is refused."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from hmralign.alignment.methods.direct_reward import DirectRewardConfig
from hmralign.alignment.multiview_reward import (
    MultiViewRewardConfig,
    MultiViewSteps,
    RewardData,
    best_look,
    fine_tune,
    haze_beyond_front,
    held_out_errors,
    sampled_views,
)
from hmralign.critics.view_figures import ViewCritic
from hmralign.models.multiview.pose_score import PoseScore
from hmralign.structures import InputError
from hmralign.training.curve import curve_rows
from support.tiny_views import RING, TinyViews, tiny_base_loss, tiny_critic, tiny_persons

QUICK = MultiViewRewardConfig(
    rollout=DirectRewardConfig(4, "drtune", last_steps=2, stop_within=2, hypotheses=1, kappa=0.01, clamp=1.0),
    persons=3, base_persons=4, steps=6, seconds=None, learning_rate=1e-3, warmup=2, check_every=3,
)  # fmt: skip


def data():
    return RewardData(tiny_persons(8, 1), tiny_persons(8, 2), tiny_persons(6, 3))


def frozen():
    return TinyViews().eval().requires_grad_(False)


def tuned(folder, config=QUICK, critic=None, policy=None):
    return fine_tune(policy or TinyViews(), frozen(), data(), critic or tiny_critic(), tiny_base_loss, config, folder)


def weights(policy):
    return torch.cat([p.detach().flatten() for p in policy.parameters()])


def doubled(critic):
    score = PoseScore(copy.deepcopy(critic.score.network).double(), copy.deepcopy(critic.score.features).double())
    return ViewCritic(critic.judge, score, RING)


def test_the_gradient_through_sampler_networks_and_score_is_that_of_finite_differences():
    full = DirectRewardConfig(3, "full", hypotheses=1, kappa=0.2, clamp=1e4)
    config = replace(QUICK, rollout=full, base_weight=0.5, haze_weight=0.3)
    policy, reference = TinyViews(5).double(), TinyViews(1).double()
    critic = doubled(tiny_critic())
    target = critic.targets(tiny_persons(8, 1).joints.double())

    class Targets(ViewCritic):
        def targets(self, joints):
            known = tiny_persons(8, 1).joints
            return target[[int((known == j).all((-1, -2)).nonzero()[0]) for j in joints]]

    steps = MultiViewSteps(data(), Targets(critic.judge, critic.score, RING), reference, tiny_base_loss, config)

    def loss():
        return sum(part.loss() for part in steps(policy, 0))

    loss().backward()
    weight = policy.layers[2].weight
    found = weight.grad[:3, 0].clone()
    for k in range(3):
        values = []
        for shift in (1e-4, -1e-4):
            with torch.no_grad():
                weight[k, 0] += shift
                values.append(float(loss()))
                weight[k, 0] -= shift
        assert (values[0] - values[1]) / 2e-4 == pytest.approx(float(found[k]), rel=1e-3, abs=1e-8)
    assert found.abs().max() > 1e-5


def test_both_curves_are_logged_and_a_run_moves_only_the_denoiser(tmp_path):
    class WithEncoder(TinyViews):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Linear(2, 2)

    policy = WithEncoder()
    before = copy.deepcopy(policy.encoder.weight)
    outcome = tuned(tmp_path, policy=policy)
    rows = curve_rows(tmp_path / "curve.jsonl")
    assert [row["step"] for row in rows] == [0, 3, 6] and outcome.steps == 6
    assert {"held_out_mpjpe", "held_out_pose_score", "held_out_psnr", "held_out_soft_iou"} <= set(rows[0])
    assert {"reward", "drift", "haze", "base"} <= set(rows[1])
    assert torch.equal(before, outcome.policy.encoder.weight)
    assert not torch.equal(weights(outcome.policy.layers), weights(TinyViews().layers))


def test_following_the_reward_raises_it(tmp_path):
    config = replace(QUICK, steps=60, base_weight=0.0, learning_rate=5e-3, guarded=False, check_every=30)
    tuned(tmp_path, config)
    scores = [row["held_out_pose_score"] for row in curve_rows(tmp_path / "curve.jsonl")]
    assert scores[-1] > scores[0]


def test_haze_beyond_the_front_is_that_of_side_masks_alone():
    views = torch.zeros(1, 2, 4, 12, 12)
    views[:, :, 3, 3:9, 3:9] = 1.0
    front = views[:, 0].clone()
    assert haze_beyond_front(views, front) == 0
    hazy = views.clone()
    hazy[:, 1, 3] *= 0.5
    assert haze_beyond_front(hazy, front) == 2.0
    assert haze_beyond_front(hazy, hazy[:, 1]) == 0  # a front as hazy as that allows it
    views[:, 0, 3] *= 0.5  # the front is given, and no matter of the model
    assert haze_beyond_front(views, front) == 0


def test_a_price_on_haze_sharpens_side_masks(tmp_path):
    hazes = []
    for weight in (0.0, 10.0):
        config = replace(QUICK, steps=40, learning_rate=5e-3, guarded=False, check_every=40, haze_weight=weight)
        tuned(tmp_path / f"{weight:g}", config)
        hazes.append(curve_rows(tmp_path / f"{weight:g}" / "curve.jsonl")[-1]["held_out_haze"])
    assert hazes[1] < hazes[0]


class Worsening(ViewCritic):
    """The judge's error rises from one look to the next."""

    looks = 0

    def figures(self, views, true):
        Worsening.looks += 1
        found = super().figures(views, true)
        return found | {"mpjpe": torch.full((len(views),), 0.05 * 1.02**Worsening.looks)}


def test_the_guard_stops_when_its_patience_ends_and_without_it_the_run_goes_on(tmp_path):
    given = tiny_critic()
    for guarded in (True, False):
        Worsening.looks = 0
        config = replace(QUICK, steps=15, guarded=guarded, tolerance=0.03, patience=2)
        outcome = tuned(tmp_path / str(guarded), config, Worsening(given.judge, given.score, RING))
        errors = held_out_errors(tmp_path / str(guarded) / "curve.jsonl")
        if guarded:
            assert outcome.stopped is not None and "6.1% above its best, and was for 2 looks" in outcome.stopped
            assert outcome.steps == 9 and outcome.look["held_out_mpjpe"] == pytest.approx(min(errors))
        else:
            assert outcome.stopped is None and outcome.steps == 15 and max(errors) > 1.1 * min(errors)


def test_a_guarded_run_ends_with_its_best_look(tmp_path):
    given = tiny_critic()
    Worsening.looks = 0
    stopped = tuned(tmp_path / "guarded", replace(QUICK, steps=15), Worsening(given.judge, given.score, RING))
    assert torch.equal(weights(stopped.policy), weights(TinyViews()))  # all looks after the first are worse

    class Improving(Worsening):
        def figures(self, views, true):
            found = super().figures(views, true)
            return found | {"mpjpe": (found["mpjpe"] - 0.0535).abs()}  # the third look is the best

    Worsening.looks = 0
    kept = tuned(tmp_path / "kept", replace(QUICK, steps=15), Improving(given.judge, given.score, RING))
    errors = held_out_errors(tmp_path / "kept/curve.jsonl")
    best = 3 * errors.index(min(errors))
    alone = tuned(tmp_path / "alone", replace(QUICK, steps=best, guarded=False))
    assert 0 < best < 15 and torch.equal(weights(kept.policy), weights(alone.policy))


@pytest.mark.parametrize(
    ("errors", "kept"),
    [
        ([100.0, 130.0, 120.0, 90.0, 95.0, 91.0], (3, False)),  # a start that unsettles the views
        ([100.0, 95.0, 99.0, 99.0, 99.0, 80.0], (1, True)),
        ([100.0, 99.0, 98.0], (2, False)),
        ([100.0, 102.0, 102.0, 102.0], (0, False)),
    ],
)
def test_patience_counts_looks_in_a_row_that_are_worse_by_the_tolerance(errors, kept):
    assert best_look(errors, 0.03, 3) == kept


def test_a_continued_run_is_the_straight_one(tmp_path):
    straight = tuned(tmp_path / "straight")
    tuned(tmp_path / "parts", replace(QUICK, steps=3))
    again = tuned(tmp_path / "parts")
    assert torch.equal(weights(straight.policy), weights(again.policy))
    assert held_out_errors(tmp_path / "parts/curve.jsonl") == held_out_errors(tmp_path / "straight/curve.jsonl")


def test_continuation_needs_no_reward_and_low_rank_updates_end_as_plain_weights(tmp_path):
    outcome = tuned(tmp_path / "base", replace(QUICK, reward_weight=0.0, guarded=False))
    assert "reward" not in curve_rows(tmp_path / "base/curve.jsonl")[-1] and outcome.steps == 6
    low = tuned(tmp_path / "lora", replace(QUICK, trainable="lora", lora_rank=1, guarded=False))
    assert set(low.policy.state_dict()) == set(TinyViews().state_dict())
    change = low.policy.layers[2].weight - TinyViews().layers[2].weight
    assert change.abs().max() > 0 and torch.linalg.matrix_rank(change, atol=1e-6) == 1


def test_a_reward_that_is_not_a_number_stops_the_run_with_the_last_good_weights(tmp_path):
    class Broken(TinyViews):
        calls = 0

        def to_views(self, x_0):
            return super().to_views(x_0) * (float("nan") if self.training and torch.is_grad_enabled() else 1.0)

    with pytest.raises(InputError, match="not finite; they have no PoseScore"):
        tuned(tmp_path, policy=Broken())


def test_samples_of_persons_are_the_same_for_the_same_seed():
    persons, policy = tiny_persons(40), TinyViews()
    made = sampled_views(policy, persons, 0)
    assert made.shape == (40, 2, 4, 12, 12) and torch.equal(made, sampled_views(policy, persons, 0))
    assert not torch.equal(made, sampled_views(policy, persons, 1))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"persons": 0}, "persons must be positive"),
        ({"reward_weight": 0.0, "base_weight": 0.0}, "nor both 0"),
        ({"haze_weight": -1.0}, "haze_weight must not be negative"),
        ({"patience": 0}, "patience must be positive"),
        ({"tolerance": 1.0}, "tolerance and ema_decay must be in 0..1"),
        ({"steps": None}, "give steps, or seconds"),
        ({"rollout": DirectRewardConfig()}, "hypotheses must be 1"),
    ],
)
def test_settings_that_make_no_run_are_refused(wrong, says):
    with pytest.raises(InputError, match=says):
        replace(QUICK, **wrong)
