"""The lite denoiser: what is computed once is the same as what is computed every time."""

from dataclasses import replace

import pytest
import torch

from hmralign.diffusion.parameterization import eps_from_v
from hmralign.diffusion.schedule import ScheduleConfig
from hmralign.models.context import keypoint_features
from hmralign.models.lite import LiteConfig, LiteDenoiser, LiteModel, Prepared, time_embedding
from hmralign.models.person_frame import person_frame
from support.synthetic_persons import TINY, persons, seeded, tiny_model

MODEL = tiny_model()
OBSERVED = persons(6).observation
CONTEXT = MODEL.context(keypoint_features(OBSERVED, person_frame(OBSERVED)))
X = torch.randn(6, 5, 130, generator=seeded(0))


@pytest.fixture(scope="module")
def prepared():
    return MODEL.denoiser.prepare(CONTEXT)


def test_a_fresh_model_predicts_no_velocity():
    v = LiteDenoiser(TINY).predict_v(X, torch.tensor(500), Prepared(torch.randn(6, 1, 1, 64)))
    assert torch.equal(v, torch.zeros(6, 5, 130))


def test_hypotheses_and_persons_are_independent(prepared):
    """One call for all equals a loop over persons and hypotheses, each prepared anew."""
    t = torch.tensor(300)
    together = MODEL.denoiser(X, t, Prepared(prepared.modulation[:, None]))
    for person in range(6):
        anew = MODEL.denoiser.prepare(CONTEXT[person])
        for hypothesis in range(5):
            alone = MODEL.denoiser(X[person, hypothesis], t, anew)
            torch.testing.assert_close(alone, together[person, hypothesis], atol=1e-5, rtol=0)


def test_times_broadcast_like_the_conditioning(prepared):
    """Draws first, as in training: (draws, n) times, one context per observation."""
    x = X.transpose(0, 1)
    t = torch.randint(0, 1000, (5, 6), generator=seeded(1))
    together = MODEL.denoiser.predict_v(x, t, prepared)
    for draw in range(5):
        for person in range(6):
            alone = MODEL.denoiser.predict_v(x[draw, person], t[draw, person], Prepared(prepared.modulation[person]))
            torch.testing.assert_close(alone, together[draw, person], atol=1e-5, rtol=0)


@pytest.mark.parametrize("t", [0, 400, 999])
def test_eps_is_that_of_v(prepared, t):
    per_hypothesis = Prepared(prepared.modulation[:, None])
    v = MODEL.denoiser.predict_v(X, torch.tensor(t), per_hypothesis)
    alpha_bar = MODEL.denoiser.schedule.at(torch.full((6, 5), t))
    torch.testing.assert_close(MODEL.denoiser(X, torch.tensor(t), per_hypothesis), eps_from_v(v, X, alpha_bar))
    assert v.abs().max() > 0.01, "the test model predicts something"


def test_time_and_context_matter(prepared):
    one = MODEL.denoiser.predict_v(X[:, 0], torch.tensor(10), prepared)
    assert not torch.allclose(one, MODEL.denoiser.predict_v(X[:, 0], torch.tensor(700), prepared), atol=1e-4)
    other = Prepared(prepared.modulation.roll(1, 0))
    assert not torch.allclose(one, MODEL.denoiser.predict_v(X[:, 0], torch.tensor(10), other), atol=1e-4)


def test_times_have_embeddings_that_differ():
    embedding = time_embedding(torch.arange(1000))
    assert embedding.shape == (1000, 128)
    distance = torch.cdist(embedding, embedding) + 10 * torch.eye(1000)
    assert distance.min() > 0.05
    assert torch.equal(embedding[0, :64], torch.zeros(64)) and torch.equal(embedding[0, 64:], torch.ones(64))


def test_the_schedule_of_the_configuration_is_used():
    model = LiteModel(replace(TINY, schedule=ScheduleConfig("linear", 50)))
    assert model.denoiser.schedule.num_steps == 50


def test_size_of_the_default_model():
    numbers = sum(p.numel() for p in LiteModel(LiteConfig()).parameters())
    assert 3e6 < numbers < 8e6 and numbers * 2 <= 16 * 2**20
