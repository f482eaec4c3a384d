"""Training of a base model: what the loss is, and that a killed run is continued as if nothing had happened."""

import json
import os
import signal
from dataclasses import replace

import pytest
import torch

from hmralign.body.lbs import forward_kinematics, posed_joints, rest_joints
from hmralign.data.shards import write_index, write_shard
from hmralign.diffusion.parameterization import add_noise, velocity
from hmralign.models.checkpoint import save_checkpoint
from hmralign.models.lite import LiteModel
from hmralign.models.person_frame import person_frame
from hmralign.models.pose_vector import PoseCodec
from hmralign.structures import Annotation, Example, InputError
from hmralign.training import base, base_batches
from hmralign.training.base import starting_weights, train_base
from hmralign.training.base_batches import SyntheticBatches, training_batch
from hmralign.training.base_configuration import BaseTrainingConfig
from hmralign.training.base_losses import base_part
from hmralign.training.configuration import read_training_config, write_training_config
from hmralign.training.step import Part
from support import forked
from support.synthetic_persons import BODY, TINY, mirrored, mirrored_body, persons, seeded, tiny_model

CONFIG = BaseTrainingConfig(
    model=TINY, batch_size=16, draws=2, steps=12, save_every=4, measured_noise=None, decay="none", learning_rate=0.05
)


@pytest.fixture(autouse=True)
def small_codec(monkeypatch):
    monkeypatch.setattr(base_batches, "CODEC_EXAMPLES", 300)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Folder and weights of an uninterrupted run of 12 steps."""
    folder = tmp_path_factory.mktemp("straight")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base_batches, "CODEC_EXAMPLES", 300)
        return folder, train_base(CONFIG, folder)


def assert_same_weights(a, b, tolerance=0.0):
    """By the largest and by the mean difference."""
    differences = torch.cat([(v - b.state_dict()[k]).abs().flatten() for k, v in a.state_dict().items()])
    assert differences.max() <= tolerance and differences.mean() <= tolerance / 10


def test_training_moves_the_weights_and_leaves_what_is_needed_to_continue(straight):
    folder, model = straight
    assert all(torch.isfinite(v).all() for v in model.state_dict().values())
    assert model.denoiser.head.weight.abs().max() > 0, "the head starts at zero"
    assert sorted(p.name for p in folder.iterdir()) == ["state.pt"]
    state = torch.load(folder / "state.pt", weights_only=True)
    assert state["step"] == 12 and state["ema"]["updates"] == 12


def test_the_same_run_twice_gives_the_same_weights(straight, tmp_path):
    assert_same_weights(straight[1], train_base(CONFIG, tmp_path))


def test_another_seed_gives_other_weights(straight, tmp_path):
    other = train_base(replace(CONFIG, seed=1, steps=2), tmp_path)
    assert not torch.equal(other.encoder.embed.weight, straight[1].encoder.embed.weight)


def test_a_run_continued_with_more_steps_is_the_straight_run(straight, tmp_path):
    train_base(replace(CONFIG, steps=6), tmp_path)
    assert_same_weights(straight[1], train_base(CONFIG, tmp_path), 1e-6)


def killed_training(config, folder):
    loss, calls = base.base_part, []

    def killing(*arguments):
        calls.append(1)
        if len(calls) == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        return loss(*arguments)

    base.base_part = killing
    train_base(read_training_config(config), folder)


def test_a_killed_run_is_continued_to_the_straight_run(straight, tmp_path):
    write_training_config(tmp_path / "config.yaml", CONFIG)
    assert forked.run(lambda: killed_training(tmp_path / "config.yaml", tmp_path / "run")) == -signal.SIGKILL
    assert torch.load(tmp_path / "run" / "state.pt", weights_only=True)["step"] == 4, "two steps are lost"
    assert_same_weights(straight[1], train_base(CONFIG, tmp_path / "run"), 1e-6)


def test_a_finished_run_is_not_trained_further(straight, monkeypatch):
    monkeypatch.setattr(base, "base_part", None)
    assert_same_weights(straight[1], train_base(CONFIG, straight[0]))


def test_a_second_stage_starts_from_the_weights_and_the_average_of_the_first(straight, tmp_path):
    folder, model = straight
    stage = replace(CONFIG, start_from=str(folder / "state.pt"), learning_rate=1e-9, weight_decay=0.0, steps=1)
    assert_same_weights(model, train_base(stage, tmp_path), 0.05)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["step"] == 1, "steps and optimiser start anew"
    assert state["ema"]["updates"] == 13, "the average goes on"


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("key", ["state", "start_from"])
def test_states_that_cannot_be_used_are_named(straight, tmp_path, key):
    whole = (straight[0] / "state.pt").read_bytes()
    path = tmp_path / "state.pt"
    config = CONFIG if key == "state" else replace(CONFIG, start_from=str(path))
    folder = tmp_path if key == "state" else tmp_path / "run"

    def refusal(config=config):
        with pytest.raises(InputError) as caught:
            train_base(config, folder)
        assert str(path) in str(caught.value)
        return str(caught.value)

    for content in (b"", b"not a state", whole[:-200], whole[:50]):
        path.write_bytes(content)
        assert "not a whole training state" in refusal()
    torch.save({"model": {}, "step": 3}, path)
    assert "not a whole training state" in refusal()
    older = torch.load(straight[0] / "state.pt", weights_only=True) | {"format": 1}
    torch.save(older, path)
    assert "finish the run with the version that began it" in refusal(), "the rest would be drawn from other seeds"
    path.write_bytes(whole)
    assert "another model" in refusal(replace(config, model=replace(TINY, width=48)))
    marker = tmp_path / "was_here"
    torch.save({"model": Malicious(marker)}, path)
    assert "not a whole training state" in refusal() and not marker.exists()


def test_a_missing_first_stage(tmp_path):
    with pytest.raises(InputError, match="no such training state"):
        train_base(replace(CONFIG, start_from=str(tmp_path / "none.pt")), tmp_path / "run")


@pytest.mark.parametrize("changes", [{"shards": "none"}, {"pose_file": "none.npz"}, {"measured_noise": "nobody"}])
def test_missing_data_is_said_in_one_line(tmp_path, changes):
    with pytest.raises(InputError, match=r"none|nobody") as caught:
        train_base(replace(CONFIG, **changes), tmp_path)
    assert "\n" not in str(caught.value)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_state(tmp_path, monkeypatch):
    loss, calls = base.base_part, []

    def diverging(*arguments):
        calls.append(1)
        part = loss(*arguments)
        return replace(part, share=torch.nan) if len(calls) == 6 else part

    monkeypatch.setattr(base, "base_part", diverging)
    with pytest.raises(RuntimeError, match="diverged at step 5"):
        train_base(CONFIG, tmp_path)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["step"] == 4 and all(torch.isfinite(v).all() for v in state["model"].values())


def test_the_curve_holds_means(tmp_path, monkeypatch):
    calls = []

    def counting(model, *_):
        calls.append(1)
        nothing = sum(p.sum() * 0 for p in model.parameters())
        return Part({"loss": nothing}, figures={"v_loss": float(len(calls)), "betas_loss": 0.0})

    monkeypatch.setattr(base, "base_part", counting)
    config = replace(CONFIG, batch_size=2, save_every=100)
    train_base(replace(config, steps=30), tmp_path)
    train_base(replace(config, steps=100), tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [50, 100]
    assert [row["v_loss"] for row in rows] == [25.5, 75.5], "of 50 steps each, in whichever run they were taken"


def test_learning_rate_warms_up_and_falls():
    config = BaseTrainingConfig(steps=5000)
    rates = [base.learning_rate(step, step / 5000, config) for step in (0, 250, 500, 2750, 4999)]
    assert rates[0] < 1e-5 < rates[1] < rates[2] < 1e-3 and rates[2] == pytest.approx(1e-3, rel=0.05)
    assert rates[3] == pytest.approx(0.43e-3, rel=0.05) and rates[4] == pytest.approx(1e-5, rel=0.05)
    constant = BaseTrainingConfig(steps=5000, decay="none")
    assert base.learning_rate(4999, 4999 / 5000, constant) == pytest.approx(1e-3)


def batches(first, count, **changes):
    iterator = iter(SyntheticBatches(replace(CONFIG, **changes), first))
    return [next(iterator) for _ in range(count)]


def test_batches_depend_on_their_number_alone():
    run = batches(0, 19)
    again = batches(17, 2)
    for a, b in zip(run[17:], again, strict=True):
        assert torch.equal(a.pose_vector, b.pose_vector) and torch.equal(a.features.vector, b.features.vector)
    assert not torch.equal(run[0].pose_vector, run[16].pose_vector)
    assert not torch.equal(run[0].pose_vector, batches(0, 1, seed=1)[0].pose_vector)


def test_batches_mix_shards_in(tmp_path):
    example = persons(20)
    observation = replace(example.observation, has_mask=torch.ones(20, dtype=torch.bool))
    write_shard(tmp_path, 0, Example(observation, example.annotation))
    write_index(tmp_path, examples=20)
    for batch in batches(0, 2, shards=str(tmp_path), shard_share=0.25):
        assert batch.features.has_mask.sum() == 4 and len(batch.betas) == 16


def test_a_batch_is_the_body_as_the_persons_virtual_camera_sees_it():
    """From the pose vector alone, back to the joints of the annotation."""
    example = persons(6)
    batch = training_batch(example, BODY)
    rest = rest_joints(BODY, batch.betas)
    _, joints = forward_kinematics(rest, PoseCodec().to_rotmats(batch.pose_vector, rest), BODY.parents)
    R = person_frame(example.observation).R_person_cam
    expected = (example.annotation.joints - example.annotation.joints[:, :1]) @ R.mT
    torch.testing.assert_close(joints - joints[:, :1], expected, atol=2e-4, rtol=0)


def test_a_mirrored_batch_is_the_batch_of_the_mirrored_persons():
    """Input and target alike, person by person."""
    example = persons(6)
    assert example.annotation is not None
    body = mirrored_body(example.annotation.body)
    other = training_batch(Example(mirrored(example.observation), Annotation(body, posed_joints(BODY, body))), BODY)
    plain = training_batch(example, BODY)
    flip = torch.tensor([True, False, True, True, False, False])
    batch = training_batch(example, BODY, flip)
    for rows, expected in ((flip, other), (~flip, plain)):
        torch.testing.assert_close(batch.pose_vector[rows], expected.pose_vector[rows], atol=2e-3, rtol=0)
        torch.testing.assert_close(batch.features.vector[rows], expected.features.vector[rows], atol=2e-3, rtol=0)
        assert torch.equal(batch.features.mask[rows], expected.features.mask[rows])
    assert (plain.pose_vector - other.pose_vector)[flip].abs().amax(1).min() > 0.05
    assert torch.equal(batch.betas, plain.betas)


def test_examples_without_truth_are_refused():
    with pytest.raises(ValueError, match="annotated"):
        training_batch(Example(persons(6).observation), BODY)


def test_the_loss_is_that_of_v_and_stratifies_times(monkeypatch):
    """Against the formula written out, with the times and the noise the model was given."""
    model, batch = tiny_model(), training_batch(persons(6), BODY)
    seen = {}
    predict = model.denoiser.predict_v

    def watched(x_t, t, prepared):
        seen.update(x=x_t, t=t, v=predict(x_t, t, prepared))
        return seen["v"]

    monkeypatch.setattr(model.denoiser, "predict_v", watched)
    part = base_part(model, batch, 50, 0.5, seeded(0))
    assert seen["x"].shape == (50, 6, 130)
    place = seen["t"].flatten().sort().values * 0.3 - torch.arange(300)
    assert place.min() > -0.31 and place.max() < 1, "one time in each of the 300 equal parts of 0..1000"
    x_0 = model.codec.encode(batch.pose_vector).expand(50, 6, 130)
    alpha_bar = model.denoiser.schedule.at(seen["t"])
    eps = (seen["x"] - alpha_bar[..., None].sqrt() * x_0) / (1 - alpha_bar)[..., None].sqrt()
    torch.testing.assert_close(add_noise(x_0, eps, alpha_bar), seen["x"], atol=1e-3, rtol=0)
    expected = (seen["v"] - velocity(x_0, eps, alpha_bar)).square().mean()
    terms = {name: term.mean() for name, term in part.terms.items()}
    torch.testing.assert_close(terms["v_loss"], expected, rtol=2e-2, atol=0)
    torch.testing.assert_close(part.loss(), terms["v_loss"] + 0.5 * terms["betas_loss"])
    assert part.figures == {name: float(mean) for name, mean in terms.items()}

    def knowing(x_t, t, prepared):
        """v of who knows x_0."""
        ab = model.denoiser.schedule.at(t)[..., None]
        return velocity(x_0, (x_t - ab.sqrt() * x_0) / (1 - ab).sqrt(), ab[..., 0])

    monkeypatch.setattr(model.denoiser, "predict_v", knowing)
    assert base_part(model, batch, 50, 0.5, seeded(0)).figures["v_loss"] < 1e-2 * expected


def test_the_loss_falls_when_one_batch_is_repeated():
    model, batch = tiny_model(), training_batch(persons(6), BODY)
    model.train().requires_grad_(True)
    model.codec.fit(batch.pose_vector)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    history = []
    for step in range(80):
        loss = base_part(model, batch, 4, 0.1, seeded(step)).loss()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert sum(history[-10:]) < 0.6 * sum(history[:10])


def test_a_run_starts_from_a_checkpoint_that_saw_less(tmp_path):
    """Inputs that the older encoder did not have start at zero; a model of another size is refused."""
    older = tiny_model(4)
    old_width = older.encoder.embed.in_features - 5
    narrow = older.encoder.embed.weight[:, :old_width].clone()
    older.encoder.embed.weight = torch.nn.Parameter(narrow)
    path = save_checkpoint(tmp_path / "old.safetensors", older, BODY.skeleton_hash, half=False)
    weights = starting_weights(path, tiny_model(1))
    assert torch.equal(weights["encoder.embed.weight"][:, :old_width], narrow)
    assert (weights["encoder.embed.weight"][:, old_width:] == 0).all()
    assert torch.equal(weights["denoiser.head.weight"], older.denoiser.head.weight)
    still = replace(CONFIG, start_from=str(path), learning_rate=1e-9, weight_decay=0.0, steps=1)
    trained = train_base(still, tmp_path / "run")
    torch.testing.assert_close(trained.denoiser.head.weight, older.denoiser.head.weight, atol=1e-6, rtol=0)
    with pytest.raises(InputError, match="another model"):
        starting_weights(path, LiteModel(replace(TINY, width=48)))
