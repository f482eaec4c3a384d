"""The transformer denoiser, its local features, and the kinds of prediction of both denoisers."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from hmralign.diffusion.parameterization import add_noise, eps_from_v, velocity
from hmralign.models.checkpoint import load_checkpoint, save_checkpoint
from hmralign.models.context import KeypointFeatures, keypoint_features
from hmralign.models.denoiser import LiteConfig, Prepared
from hmralign.models.joint_features import JointFeatures
from hmralign.models.lite import LiteDenoiser, LiteModel, make_denoiser
from hmralign.models.person_frame import person_frame
from hmralign.models.pose_vector import pack
from hmralign.models.transformer_denoiser import TransformerDenoiser, from_tokens, to_tokens
from hmralign.policies.lite_sampling import sample_group
from hmralign.policies.policy import SamplerConfig
from hmralign.structures import InputError
from hmralign.training.base_batches import training_batch
from hmralign.training.base_losses import base_part
from support.synthetic_persons import BODY, TINY, persons, seeded

CONFIG = LiteConfig(width=64, hidden=96, depth=2, context_width=32, context_depth=1, architecture="transformer")
SKELETON = "a" * 64
OBSERVED = persons(6).observation
FEATURES = keypoint_features(OBSERVED, person_frame(OBSERVED))
X = torch.randn(6, 5, 130, generator=seeded(0))


def random_model(config=CONFIG, seed=0):
    """Nothing at zero: what starts at zero hides what lies behind it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LiteModel(config).eval()
        for parameter in model.denoiser.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
    return model


MODEL = random_model().requires_grad_(False)
CONTEXT = MODEL.context(FEATURES)
PREPARED = MODEL.denoiser.prepare(CONTEXT)


def test_the_architecture_is_chosen_by_the_configuration():
    assert isinstance(MODEL.denoiser, TransformerDenoiser)
    assert isinstance(make_denoiser(LiteConfig()), LiteDenoiser), "the default stays what it was"
    assert CONTEXT.local.shape == (6, 28, 64) and LiteModel(TINY).context(FEATURES).local is None


def test_a_token_holds_the_numbers_of_its_joint():
    joints, twist = torch.randn(3, 29, 3, generator=seeded(1)), torch.randn(3, 23, 2, generator=seeded(2))
    joints[:, 0] = 0
    tokens = to_tokens(pack(joints, twist))
    assert tokens.shape == (3, 28, 5)
    assert torch.equal(tokens[..., :3], joints[:, 1:])
    assert torch.equal(tokens[:, :23, 3:], twist) and not tokens[:, 23:, 3:].any(), "leaves have no twist"
    assert torch.equal(from_tokens(tokens), pack(joints, twist))


def test_a_fresh_model_predicts_no_velocity():
    model = LiteModel(CONFIG)
    v = model.denoiser.predict_v(X, torch.tensor(500), model.denoiser.prepare(CONTEXT).per_hypothesis())
    assert torch.equal(v, torch.zeros(6, 5, 130))


@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (2, 1, 3)])
def test_any_leading_axes(batch):
    person = CONTEXT[0]
    x = torch.randn(*batch, 130, generator=seeded(3))
    v = MODEL.denoiser.predict_v(x, torch.tensor(300), MODEL.denoiser.prepare(person))
    assert v.shape == x.shape
    one = MODEL.denoiser.predict_v(x.reshape(-1, 130)[-1], torch.tensor(300), MODEL.denoiser.prepare(person))
    torch.testing.assert_close(v.reshape(-1, 130)[-1], one, atol=1e-5, rtol=0)


def test_hypotheses_and_persons_are_independent_and_persons_computed_once():
    """One call for all equals a loop over persons and hypotheses, each encoded and prepared anew."""
    t = torch.tensor(300)
    together = MODEL.denoiser(X, t, PREPARED.per_hypothesis())
    assert PREPARED.per_hypothesis().tokens.shape == (6, 1, 28, 64)
    for person in range(6):
        anew = MODEL.denoiser.prepare(MODEL.context(FEATURES[person]))
        for hypothesis in range(5):
            alone = MODEL.denoiser(X[person, hypothesis], t, anew)
            torch.testing.assert_close(alone, together[person, hypothesis], atol=1e-5, rtol=0)


def test_another_hypothesis_changes_nothing():
    other = X.clone()
    other[:, 2] += 10
    a, b = (MODEL.denoiser(x, torch.tensor(300), PREPARED.per_hypothesis()) for x in (X, other))
    same = [0, 1, 3, 4]
    torch.testing.assert_close(a[:, same], b[:, same], atol=1e-6, rtol=0)
    assert (a[:, 2] - b[:, 2]).abs().max() > 0.1


def test_times_broadcast_like_the_conditioning():
    """Draws first, as in training: (draws, n) times, one context per observation."""
    x, t = X.transpose(0, 1), torch.randint(0, 1000, (5, 6), generator=seeded(1))
    together = MODEL.denoiser.predict_v(x, t, PREPARED)
    for draw in range(5):
        for person in range(6):
            alone = MODEL.denoiser.predict_v(x[draw, person], t[draw, person], MODEL.denoiser.prepare(CONTEXT[person]))
            torch.testing.assert_close(alone, together[draw, person], atol=1e-5, rtol=0)


def test_every_input_matters():
    def v(x=X[:, 0], t=300, modulation=PREPARED.modulation, tokens=PREPARED.tokens):
        return MODEL.denoiser.predict_v(x, torch.tensor(t), Prepared(modulation, tokens))

    base = v()
    for other in (v(t=700), v(modulation=PREPARED.modulation.roll(1, 0)), v(tokens=PREPARED.tokens.roll(1, 0))):
        assert (other - base).abs().amax(-1).min() > 1e-3
    nudged = X[:, 0].clone()
    nudged[:, 0] += 1
    assert (v(nudged) - base).abs().amax(0).min() > 1e-5, "each joint attends to all others"


def test_gradients_reach_every_parameter():
    model = random_model().train()
    o = replace(OBSERVED, mask=torch.rand(6, 48, 48, generator=seeded(4)), has_mask=torch.ones(6, dtype=torch.bool))
    batch = training_batch(replace(persons(6), observation=o), BODY)
    base_part(model, batch, 2, 0.1, seeded(0)).loss().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 1e-9, name


@pytest.mark.parametrize("prediction", ["v", "eps", "x_0"])
@pytest.mark.parametrize("architecture", ["mlp", "transformer"])
def test_the_loss_falls_on_a_repeated_batch(architecture, prediction):
    torch.manual_seed(0)
    model = LiteModel(replace(CONFIG, architecture=architecture, prediction=prediction))
    batch = training_batch(persons(6), BODY)
    model.codec.fit(batch.pose_vector)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        part = base_part(model, batch, 4, 0.1, seeded(0))
        optimizer.zero_grad()
        part.loss().backward()
        optimizer.step()
        losses.append(part.figures["v_loss"])
    assert losses[-1] < 0.5 * losses[0]


def test_local_features_follow_the_keypoints():
    features = JointFeatures(64).requires_grad_(False)
    per_keypoint = FEATURES.vector[:, :108].unflatten(-1, (27, 4))
    moved = per_keypoint.clone()
    moved[:, 9, 0] += 0.5
    assert features(per_keypoint).shape == (6, 28, 64)
    assert (features(moved) - features(per_keypoint)).abs().amax(-1).min() > 1e-6
    grid = features(per_keypoint.view(2, 3, 27, 4))
    torch.testing.assert_close(grid.view(6, 28, 64), features(per_keypoint), atol=1e-5, rtol=0)
    assert features(per_keypoint[0]).shape == (28, 64)


def test_masks_and_boxes_are_not_in_the_local_features():
    other = KeypointFeatures(FEATURES.vector, torch.rand(6, 48, 48, generator=seeded(5)), torch.ones(6))
    assert torch.equal(MODEL.context(other).local, CONTEXT.local)
    assert not torch.equal(MODEL.context(other).global_tokens, CONTEXT.global_tokens)


def test_a_context_without_local_features_is_refused():
    with pytest.raises(ValueError, match="local feature"):
        MODEL.denoiser.prepare(LiteModel(TINY).context(FEATURES))


def test_a_width_that_is_no_number_of_heads_is_refused():
    with pytest.raises(InputError, match="multiple of 32, got 48"):
        replace(CONFIG, width=48)
    assert LiteConfig(width=48).width == 48, "the MLP has no heads"


@pytest.mark.parametrize("m", [1, 4, 5])
def test_the_sampler_takes_it(m):
    group = sample_group(MODEL, BODY, OBSERVED, SamplerConfig(m, 2), seeded(0))
    alone = sample_group(MODEL, BODY, OBSERVED[2:3], SamplerConfig(m, 2), seeded(0))
    assert group.rotmats.shape == (6, m, 24, 3, 3) and torch.isfinite(group.rotmats).all()
    torch.testing.assert_close(group.rotmats[2:3], alone.rotmats, atol=1e-3, rtol=0)


# What the network predicts inside


class Exact(torch.nn.Module):
    """In the place of a head: says what is asked for, whatever comes in."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, _):
        return self.answer


@pytest.mark.parametrize("prediction", ["v", "eps", "x_0"])
@pytest.mark.parametrize("architecture", ["mlp", "transformer"])
@pytest.mark.parametrize("t", [100, 500, 900])
def test_networks_that_know_the_truth_agree(architecture, prediction, t):
    model = LiteModel(replace(CONFIG, architecture=architecture, prediction=prediction)).requires_grad_(False)
    x_0, eps = torch.randn(2, 6, 130, generator=seeded(6)).unbind(0)
    alpha_bar = model.denoiser.schedule.at(torch.full((6,), t))
    v = velocity(x_0, eps, alpha_bar)
    answer = {"v": v, "eps": eps, "x_0": x_0}[prediction]
    model.denoiser.head = Exact(to_tokens(answer) if architecture == "transformer" else answer)
    prepared = model.denoiser.prepare(model.context(FEATURES))
    x_t = add_noise(x_0, eps, alpha_bar)
    torch.testing.assert_close(model.denoiser.predict_v(x_t, torch.tensor(t), prepared), v, atol=1e-4, rtol=0)
    torch.testing.assert_close(model.denoiser(x_t, torch.tensor(t), prepared), eps, atol=1e-4, rtol=0)


@pytest.mark.parametrize("prediction", ["v", "eps", "x_0"])
@pytest.mark.parametrize("t", [0, 400, 999])
def test_eps_is_that_of_v(prediction, t):
    model = random_model(replace(CONFIG, prediction=prediction)).requires_grad_(False)
    prepared = model.denoiser.prepare(model.context(FEATURES)).per_hypothesis()
    v = model.denoiser.predict_v(X, torch.tensor(t), prepared)
    alpha_bar = model.denoiser.schedule.at(torch.full((6, 5), t))
    torch.testing.assert_close(model.denoiser(X, torch.tensor(t), prepared), eps_from_v(v, X, alpha_bar))


# Checkpoints


def written(tmp_path, model, **changes):
    """A checkpoint whose configuration is changed; None removes a field."""
    path = save_checkpoint(tmp_path / "m.safetensors", model, SKELETON, half=False)
    with safe_open(path, framework="pt") as handle:
        header, tensors = dict(handle.metadata()), {name: handle.get_tensor(name) for name in handle.keys()}
    config = {**json.loads(header["config"]), **changes}
    header["config"] = json.dumps({k: v for k, v in config.items() if v is not None})
    save_file(tensors, path, metadata=header)
    return path


@pytest.mark.parametrize("prediction", ["v", "eps", "x_0"])
def test_a_checkpoint_comes_back_as_it_was(tmp_path, prediction):
    model = random_model(replace(CONFIG, prediction=prediction)).requires_grad_(False)
    again = load_checkpoint(save_checkpoint(tmp_path / "m.safetensors", model, SKELETON, half=False), SKELETON)
    assert again.config == model.config and isinstance(again.denoiser, TransformerDenoiser)
    prepared = [m.denoiser.prepare(m.context(FEATURES)).per_hypothesis() for m in (model, again)]
    a, b = (m.denoiser(X, torch.tensor(300), p) for m, p in zip((model, again), prepared, strict=True))
    assert torch.equal(a, b)


def test_files_of_before_there_was_a_choice_are_mlps_that_predict_v(tmp_path):
    model = LiteModel(TINY)
    path = written(tmp_path, model, architecture=None, prediction=None)
    again = load_checkpoint(path, SKELETON)
    assert again.config == TINY and isinstance(again.denoiser, LiteDenoiser)
    assert (again.config.architecture, again.config.prediction) == ("mlp", "v")
    assert not any(name.startswith("encoder.local") for name in model.state_dict()), "the same weights as before"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": "rnn"}, "architecture = 'rnn', expected mlp or transformer"),
        ({"architecture": ["mlp"]}, "architecture = ['mlp']"),
        ({"prediction": "x_t"}, "prediction = 'x_t', expected v or eps or x_0"),
        ({"prediction": 1}, "prediction = 1"),
        ({"width": 48}, "multiple of 32"),
        ({"architecture": "mlp"}, "weights do not fit"),
    ],
)
def test_headers_are_checked(tmp_path, changes, words):
    with pytest.raises(InputError) as caught:
        load_checkpoint(written(tmp_path, random_model(), **changes), SKELETON)
    assert words in str(caught.value) and "m.safetensors" in str(caught.value)


def test_the_header_names_the_choices(tmp_path):
    assert {"architecture", "prediction"} <= asdict(CONFIG).keys()
    with safe_open(save_checkpoint(tmp_path / "m.safetensors", random_model(), SKELETON), framework="pt") as handle:
        config = json.loads(handle.metadata()["config"])
    assert config["architecture"] == "transformer" and config["prediction"] == "v"
