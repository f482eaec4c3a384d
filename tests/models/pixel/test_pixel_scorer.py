"""A scorer that looks at pixels: what it sees counts, mirrored alike, and it starts from a pixel model's encoder."""

from dataclasses import replace

import pytest
import torch

from hmralign.critics.critic import judge
from hmralign.critics.learned_scorer import ScorerCritic
from hmralign.models.checkpoint import save_checkpoint
from hmralign.models.pixel.checkpoint import save_pixel
from hmralign.models.pixel.pixel_model import PixelModel
from hmralign.models.scorer import Scorer, ScorerConfig, reader_of
from hmralign.models.scorer_calibration import Calibration
from hmralign.models.scorer_checkpoint import CalibratedScorer, load_scorer, save_scorer
from hmralign.models.scorer_features import mirrored_input, scorer_input
from hmralign.structures import Example, Hypotheses, InputError
from hmralign.training.scorer import ScorerTrainingConfig, start_encoder
from support.pixel_persons import pictured
from support.synthetic_persons import BODY, persons, seeded, tiny_model
from support.toy_policy import tiny_policy

CONFIG = ScorerConfig(width=16, depth=1, context_width=32, context_depth=1, pixels=True)


def _scored(config=CONFIG):
    torch.manual_seed(0)
    scorer = Scorer(config, 1).eval()
    if config.pixels:
        torch.nn.init.normal_(scorer.members[0].encoder.pixels.out.weight, std=0.5)
    return CalibratedScorer(scorer.requires_grad_(False), Calibration((-1.0, 1.0), (0.01, 0.99)))


def _judged(example, config=CONFIG):
    policy = tiny_policy()
    x_0 = policy.sample(policy.context(example.observation), 4, seeded(0))
    hypotheses: Hypotheses = policy.to_body(x_0, example.observation)
    return judge(ScorerCritic(BODY, _scored(config)), hypotheses, example)


def _example(seed=0):
    example = persons(5)
    return replace(example, observation=pictured(example.observation, seed), annotation=None)


def test_what_the_picture_shows_counts_and_only_for_whoever_is_shown():
    ours, other = _example(), _example(seed=4)
    assert (_judged(ours) - _judged(other)).abs().amax(1).gt(1e-6).all()
    hidden = torch.zeros(5, dtype=torch.bool)
    blind = [replace(e, observation=replace(e.observation, has_crop=hidden)) for e in (ours, other)]
    assert torch.equal(_judged(blind[0]), _judged(blind[1]))


def test_without_crops_it_says_so_and_one_without_pixels_does_not_care():
    plain = Example(persons(5).observation)
    with pytest.raises(InputError, match="come without crops"):
        _judged(plain)
    keypoints_alone = replace(CONFIG, pixels=False)
    assert torch.equal(_judged(plain, keypoints_alone), _judged(_example(), keypoints_alone))
    policy = tiny_policy()
    bodies = policy.to_body(policy.sample(policy.context(plain.observation), 2, seeded(0)), plain.observation).body
    with pytest.raises(InputError, match="made without"):
        _scored().scorer(scorer_input(BODY, bodies, plain.observation))


def test_the_mirror_image_of_the_input_is_mirrored_twice_to_itself():
    example, policy = _example(), tiny_policy()
    x_0 = policy.sample(policy.context(example.observation), 2, seeded(0))
    bodies = policy.to_body(x_0, example.observation).body
    x = scorer_input(BODY, bodies, example.observation, pixels=True)
    assert x.patches is not None
    once, twice = mirrored_input(x).patches, mirrored_input(mirrored_input(x)).patches
    assert once is not None and twice is not None
    assert not torch.equal(once.limbs, x.patches.limbs) and torch.equal(twice.limbs, x.patches.limbs)


def test_its_checkpoint_says_that_it_looks_at_pixels(tmp_path):
    path = save_scorer(tmp_path / "s.safetensors", _scored(), BODY.skeleton_hash, half=False)
    read = load_scorer(path, BODY.skeleton_hash)
    assert read.scorer.config.pixels
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    with safe_open(path, "pt") as handle:
        header = dict(handle.metadata())
    header["config"] = header["config"].replace('"pixels": true', '"pixels": 1')
    save_file(load_file(path), path, header)
    with pytest.raises(InputError, match="true or false"):
        load_scorer(path, BODY.skeleton_hash)


def test_it_starts_from_the_encoder_of_a_pixel_model_of_its_size(tmp_path):
    torch.manual_seed(5)
    model = PixelModel(reader_of(CONFIG))
    path = save_pixel(tmp_path / "p.safetensors", model, BODY.skeleton_hash, half=False)
    network = _scored().scorer.members[0]
    start_encoder(network, str(path))
    for name, value in model.encoder.state_dict().items():
        assert torch.equal(network.encoder.state_dict()[name], value), name
    with pytest.raises(InputError, match="does not fit"):
        start_encoder(Scorer(replace(CONFIG, context_width=64), 1).members[0], str(path))
    blind = Scorer(replace(CONFIG, pixels=False), 1).members[0]
    start_encoder(blind, str(path))
    assert torch.equal(blind.encoder.embed.weight, model.encoder.embed.weight)
    lite = save_checkpoint(tmp_path / "l.safetensors", tiny_model(), BODY.skeleton_hash, half=False)
    start_encoder(blind, str(lite))
    assert torch.equal(blind.encoder.embed.weight, tiny_model().encoder.embed.weight)
    with pytest.raises(InputError, match="does not fit"):
        start_encoder(network, str(lite))
    assert ScorerTrainingConfig(encoder_from=str(path)).encoder_from == str(path)
