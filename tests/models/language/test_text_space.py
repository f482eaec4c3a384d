"""Texts and poses in one space: what a text says does not depend on its neighbours, losses are what they are called."""

import pytest
import torch

from hmralign.geometry.rotations import random_rotmat
from hmralign.models.language.pose_space import PoseSpace, PoseSpaceConfig
from hmralign.models.language.text_space import LatentTextGuide, TextReader, TextSpace, TextSpaceConfig
from hmralign.models.language.word_encoder import WordEncoder, WordEncoderConfig
from hmralign.structures import InputError

POSES = PoseSpaceConfig(width=16, depth=1, tokens=6, code_dim=2, codes=9)
SMALL = TextSpaceConfig(width=16, depth=1, heads=2, shared=8)
WORDS = ("the", "left", "right", "arm", "leg", "is", "bent", "straight")
TEXTS = ["The left arm is bent. The right leg is straight.", "The right arm is bent.", "Bent."]


def space(config=SMALL, encoder=None):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        words = WordEncoder(WordEncoderConfig(width=8, depth=1, heads=2, trigrams=32), WORDS)
        return TextSpace(config, PoseSpace(POSES), encoder or words).eval()


def poses(n=3):
    return random_rotmat((n, 24), torch.Generator().manual_seed(0))


class Letters:
    """An encoder that is no module, and counts what it is asked."""

    name, dims = "sentence", 4

    def __init__(self):
        self.asked = []

    def __call__(self, texts):
        self.asked += texts
        return torch.tensor([[float(text.count(c)) for c in "abel"] for text in texts])


def test_a_text_has_one_vector_whatever_stands_beside_it_and_in_any_order_of_its_sentences():
    one = space()
    together = one.text_features(TEXTS)
    for text, features in zip(TEXTS, together, strict=True):
        torch.testing.assert_close(one.text_features([text])[0], features, atol=1e-5, rtol=0)
    turned = one.text_features(["the right leg is straight; the left arm is BENT"])
    torch.testing.assert_close(turned[0], together[0], atol=1e-5, rtol=0)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


def test_a_whole_text_is_one_piece():
    one = space(TextSpaceConfig(width=16, depth=1, heads=2, shared=8, pieces="whole"), encoder := Letters())
    one.read(TEXTS[:1])
    assert encoder.asked == ["the left arm is bent the right leg is straight"]


def test_an_encoder_that_is_no_module_is_called_once_for_each_sentence_and_not_saved():
    one = space(encoder=(encoder := Letters()))
    one.read([TEXTS[0], TEXTS[0], TEXTS[1]])
    assert len(encoder.asked) == len(set(encoder.asked)) == 3 and one.encoder is encoder
    assert not any("encoder" in name and not name.startswith("poses.") for name in one.state_dict())


def test_features_have_unit_length_and_the_loss_is_their_distance():
    one, rotmats = space(), poses()
    texts, bodies = one.text_features(TEXTS), one.pose_features(rotmats)
    torch.testing.assert_close(texts.norm(dim=-1), torch.ones(3))
    torch.testing.assert_close(bodies.norm(dim=-1), torch.ones(3))
    cosine = torch.nn.functional.cosine_similarity(texts, bodies)
    torch.testing.assert_close(one.text_pose_loss(rotmats, texts), 1 - cosine)
    torch.testing.assert_close(one.text_pose_loss(rotmats, texts, form="squared_cosine"), cosine**2)
    with pytest.raises((InputError, TypeError), match="one_minus_cosine"):  # by the shape checks of tests, or without
        one.text_pose_loss(rotmats, texts, form="cosine")  # type: ignore[arg-type]


def test_without_heads_the_latents_themselves_are_compared():
    one, rotmats = space(TextSpaceConfig(width=16, depth=1, heads=2, shared=8, head="none")), poses()
    cosine = torch.nn.functional.cosine_similarity(one.text_latents(TEXTS), one.poses.encode(rotmats))
    torch.testing.assert_close(one.text_pose_loss(rotmats, one.text_features(TEXTS)), 1 - cosine)


def test_walking_down_the_loss_brings_a_pose_to_the_text():
    one, rotmats = space(), poses().requires_grad_()
    guide = LatentTextGuide.of_text(one, TEXTS[0])
    assert not guide.text_features.requires_grad and guide.text_features.shape == (1, 8)
    before = guide.loss(torch.zeros(3, 24, 3), rotmats)
    (gradient,) = torch.autograd.grad(before.sum(), rotmats)
    after = guide.loss(
        torch.zeros(3, 24, 3), rotmats - 1e-2 * gradient / gradient.flatten(1).norm(dim=1)[:, None, None, None]
    )
    assert (after < before).all()


def test_the_printed_form_is_least_where_nothing_is_shared():
    one, rotmats = space(), poses()
    guide = LatentTextGuide(one, -one.pose_features(rotmats).detach(), "squared_cosine")
    torch.testing.assert_close(guide.loss(torch.zeros(3, 24, 3), rotmats), torch.ones(3))  # the opposite is no better


def test_the_first_layer_can_whiten_what_it_is_given():
    draw = torch.Generator().manual_seed(0)
    vectors = torch.randn(200, 4, generator=draw) * torch.tensor([1.0, 0.02, 3.0, 0.5]) + 5.0
    reader = TextReader(4, SMALL)
    reader.start_from(vectors)
    out = reader.embed(vectors)
    spread = (out[:, :4].T @ out[:, :4] / 200).diagonal()
    torch.testing.assert_close(spread[:3], torch.ones(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(spread[3].sqrt(), vectors[:, 1].std() / (0.1 * vectors[:, 2].std()), atol=0.02, rtol=0.1)
    assert not out[:, 4:].any()  # there is nothing more to tell


@pytest.mark.parametrize(("texts", "said"), [([], "no texts"), (["arm", ""], "no words"), (["..."], "no words")])
def test_what_is_no_text_is_refused(texts, said):
    with pytest.raises(InputError, match=said):
        space().read(texts)


@pytest.mark.parametrize("bad", [{"width": 0}, {"heads": 0}, {"shared": 0}, {"depth": -1}, {"width": 10, "heads": 4}])
def test_sizes_without_meaning_are_refused(bad):
    with pytest.raises(InputError, match="text space"):
        TextSpaceConfig(**bad)
