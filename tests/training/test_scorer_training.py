"""A scorer's training: resumed equals straight, members differ, it learns, and what is wrong is named."""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from hmralign.metrics.ranking import spearman
from hmralign.models.scorer import ScorerConfig
from hmralign.models.scorer_features import scorer_input
from hmralign.structures import InputError
from hmralign.training import scorer
from hmralign.training.hypothesis_sets import PerturbConfig, hypothesis_set, perturbing
from hmralign.training.scorer import HypothesisSet, ScorerTrainingConfig, _with_hidden_keypoints, train_scorer
from support import forked
from support.synthetic_persons import BODY, persons

TINY = ScorerConfig(width=32, depth=1, context_width=16, context_depth=1)
CONFIG = ScorerTrainingConfig(model=TINY, batch_size=8, steps=12, save_every=5)


@pytest.fixture(scope="module")
def data() -> HypothesisSet:
    return sets()


def sets() -> HypothesisSet:
    """Perturbed truth of 24 persons."""
    return hypothesis_set(BODY, persons(24), perturbing(6, PerturbConfig(levels=(1.0, 12.0)), 0), None)


def test_hidden_keypoints_leave_no_trace(data):
    """Neither in what was observed nor in how far bodies are from it; bodies themselves stay to be seen."""
    hidden = _with_hidden_keypoints(data.input, 1.0, torch.Generator().manual_seed(0))
    before, after = (x.observation.vector[:, :108].unflatten(1, (27, 4)) for x in (data.input, hidden))
    gone = (after == 0).all(-1) & (before != 0).any(-1)
    assert 0.03 < gone.float().mean() < 0.15
    rows = gone[:, None].expand(-1, data.errors.shape[1], -1)
    assert (data.input.landmarks[rows][:, 2:4] != 0).any() and (hidden.landmarks[rows][:, [2, 3, 5]] == 0).all()
    assert torch.equal(after[~gone], before[~gone])
    assert torch.equal(hidden.landmarks[~rows], data.input.landmarks[~rows])
    assert torch.equal(hidden.landmarks[..., [0, 1, 4]], data.input.landmarks[..., [0, 1, 4]])


def weights(scorer):
    return torch.cat([p.flatten() for p in scorer.parameters()])


@pytest.mark.parametrize("loss", ["ranknet", "listwise", "listwise_regression"])
def test_a_resumed_run_is_the_straight_run(tmp_path, data, loss):
    config = replace(CONFIG, loss=loss, members=2)
    straight = train_scorer(data, config, tmp_path / "a")

    class Killed(BaseException):
        pass

    def die(*_):
        raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        calls = iter(range(100))
        from hmralign.training import scorer as module

        real = module.scorer_loss
        patch.setattr(module, "scorer_loss", lambda *a: die() if next(calls) == 8 else real(*a))
        train_scorer(data, config, tmp_path / "b")
    assert (tmp_path / "b" / "member_0.pt").exists()
    resumed = train_scorer(data, config, tmp_path / "b")
    assert torch.equal(weights(straight), weights(resumed))
    assert not torch.equal(weights(straight.members[0]), weights(straight.members[1]))
    assert curve(tmp_path / "a") == curve(tmp_path / "b") and [row["member"] for row in curve(tmp_path / "a")] == [0, 1]


def curve(folder):
    rows = [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "cpu_seconds"} for row in rows]


def killed_training(data, folder):
    loss, calls = scorer.scorer_loss, []

    def killing(*arguments):
        calls.append(1)
        if len(calls) == 20:
            os.kill(os.getpid(), signal.SIGKILL)
        return loss(*arguments)

    scorer.scorer_loss = killing
    train_scorer(data, replace(CONFIG, members=2), folder)


def test_a_killed_run_is_continued_to_the_straight_run(tmp_path, data):
    """SIGKILL in the eighth step of the second member; its last state is that of the fifth."""
    assert forked.run(lambda: killed_training(data, tmp_path / "killed")) == -signal.SIGKILL
    steps = [torch.load(tmp_path / f"killed/member_{n}.pt", weights_only=True)["step"] for n in (0, 1)]
    assert steps == [12, 5]
    config = replace(CONFIG, members=2)
    straight, resumed = (weights(train_scorer(data, config, tmp_path / n)) for n in ("straight", "killed"))
    assert (straight - resumed).abs().max() < 1e-6 and (straight - resumed).abs().mean() < 1e-7


def test_it_learns_to_order_perturbed_truth(tmp_path, data):
    scorer = train_scorer(data, replace(CONFIG, steps=150, batch_size=16, learning_rate=3e-3), tmp_path)
    with torch.no_grad():
        scores = scorer(data.input).mean(-1).double().numpy()
    errors = data.errors[..., 0].double().numpy()
    assert spearman(scores, errors).mean() > 0.6
    shuffled = np.random.default_rng(0).permuted(scores, axis=1)
    assert abs(spearman(shuffled, errors).mean()) < 0.3


def test_a_damaged_state_and_one_of_another_scorer_are_refused(tmp_path, data):
    train_scorer(data, CONFIG, tmp_path)
    with pytest.raises(InputError, match=r"member_0\.pt: the training state is of another model"):
        train_scorer(data, replace(CONFIG, model=replace(TINY, width=64)), tmp_path)
    state = tmp_path / "member_0.pt"
    state.write_bytes(state.read_bytes()[:500])
    with pytest.raises(InputError, match=r"member_0\.pt: not a whole training state"):
        train_scorer(data, CONFIG, tmp_path)


def test_groups_without_an_order_or_with_broken_errors_are_refused(tmp_path, data):
    alone = {n: getattr(data.input, n)[:, :1] for n in ("uvd", "rotations", "twists", "landmarks")}
    with pytest.raises(InputError, match="at least 2"):
        train_scorer(HypothesisSet(replace(data.input, **alone), data.errors[:, :1]), CONFIG, tmp_path)
    broken = data.errors.clone()
    broken[2, 1] = torch.nan
    with pytest.raises(InputError, match="group 2, hypothesis 1"):
        HypothesisSet(data.input, broken)


def test_sets_of_one_group_size_join(data):
    both = HypothesisSet.join([data, data])
    assert len(both) == 48 and torch.equal(both.errors[24:], data.errors)
    truth = persons(24).annotation
    assert truth is not None
    one = truth.body[:, None]
    single = HypothesisSet(scorer_input(BODY, one, persons(24).observation), data.errors[:, :1])
    with pytest.raises(InputError, match="one size"):
        HypothesisSet.join([data, single])


@pytest.mark.parametrize(
    "change", [{"members": 0}, {"steps": 0}, {"dropped_keypoints": 1.5}, {"regression_weight": -1.0}]
)
def test_settings_without_meaning_are_refused(change):
    with pytest.raises(InputError):
        replace(CONFIG, **change)
