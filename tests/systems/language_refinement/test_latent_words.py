"""Texts are cut or rewritten to what the encoder reads, and the text space pulls beside the statements."""

import json
from dataclasses import replace

import pytest
import torch

from hmralign.body.free_body import load_free_body
from hmralign.language.description import PoseDescription
from hmralign.language.reading import read_statements
from hmralign.models.language.checkpoint import load_text_space, save_text_space
from hmralign.models.language.encoder_folder import load_clip_encoder
from hmralign.models.language.pose_space import PoseSpace, PoseSpaceConfig
from hmralign.models.language.text_space import TextSpace, TextSpaceConfig
from hmralign.models.language.word_encoder import WordEncoder, WordEncoderConfig
from hmralign.refinement.guide import StatementGuide, SumGuide
from hmralign.refinement.refine import RefineConfig
from hmralign.systems.language_refinement.latent_words import budget_of, latent_words, shortened_by
from hmralign.systems.language_refinement.refined import refine_people
from hmralign.systems.language_refinement.starts import InitialPeople, read_start
from hmralign.systems.language_refinement.wishes import NOTHING_WANTED, Wish, typed
from hmralign.vlm.asker import Asker
from hmralign.vlm.asking import Limits
from hmralign.vlm.budget import Budget
from hmralign.vlm.journal import Journal
from hmralign.vlm.scripted import Scripted
from support.tiny_text_encoders import save_tiny_clip

BODY = load_free_body("7k")
SHORT = "left hand on the right knee, legs crossed"
MANY = (
    "hand is nearer to the camera than the torso", "knee is bent at a right angle", "foot is off the ground",
    "elbow is bent sharply", "thigh points towards the camera", "hand is at the height of the shoulders",
    "knee is raised to the height of the hips", "forearm points towards the camera",
)  # fmt: skip


def space(encoder=None):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        words = WordEncoder(WordEncoderConfig(width=16, depth=1, heads=2, trigrams=64), ("the", "left", "hand"))
        poses = PoseSpace(PoseSpaceConfig(width=32, depth=1, tokens=8, code_dim=4, codes=0))
        return TextSpace(TextSpaceConfig(width=32, depth=1, heads=2, shared=16), poses, encoder or words).eval()


def described(text):
    statements = tuple(read_statements(text).statements)
    return Wish(PoseDescription((("overall", text),), statements, "vlm"), (1.0,) * len(statements))


@pytest.fixture(scope="module")
def clip_space(tmp_path_factory):
    return space(load_clip_encoder(save_tiny_clip(tmp_path_factory.mktemp("encoders") / "clip")))


def shortened(tmp_path, answer, text_space, wishes):
    backend = Scripted(answer)
    with Journal.open(tmp_path / "journal.sqlite") as journal:
        asker = Asker(backend, journal, Limits(concurrency=1, first_wait=0.0), Budget())
        return *latent_words(text_space, wishes, shortened_by(asker, 0)), backend


def test_clip_reads_77_tokens_of_a_sentence_and_words_of_its_own_any_number(clip_space):
    budget = budget_of(clip_space)
    assert (budget.words, budget.tokens) == (77, 77)
    # The tiny tokenizer makes a token of every letter, and marks both ends.
    assert budget.holds("a" * 75) and not budget.holds("a" * 76)
    assert budget.holds(". ".join(["a" * 75] * 3)), "sentences are encoded one by one"
    assert budget_of(space()).count_tokens is None


def test_what_is_too_long_is_cut_without_a_model_and_a_note_says_so(clip_space):
    latent, (wish, nothing) = latent_words(clip_space, [typed(SHORT), NOTHING_WANTED])
    assert latent.texts == ("The legs are crossed. The left hand is on the right knee.", None)
    assert wish.notes == () and nothing == NOTHING_WANTED
    long = ". ".join(f"the {side} {rest}" for side in ("left", "right") for rest in MANY)
    latent, (wish,) = latent_words(clip_space, [typed(long)])
    assert latent.texts[0] is not None and len(latent.texts[0].split()) == 77
    assert "beyond what the text encoder reads" in wish.notes[-1]


def test_a_model_rewrites_what_is_too_long_and_nothing_else(clip_space, tmp_path):
    long = "The left hand is on the right knee and the trunk leans forward and the legs are crossed at the ankles."
    short = "Left hand on the right knee. Legs crossed."
    wishes = [described("The person is sitting."), described(long), NOTHING_WANTED]
    latent, told, backend = shortened(tmp_path, lambda _: json.dumps({"description": short}), clip_space, wishes)
    assert latent.texts == ("The person is sitting.", short, None) and len(backend.requests) == 1
    assert [wish.notes for wish in told[::2]] == [(), ()] and short in told[1].notes[0]


def test_a_rewriting_that_says_something_new_is_refused_and_the_text_cut(clip_space, tmp_path):
    long = "The left hand is on the right knee and the trunk leans forward and the legs are crossed at the ankles."
    wrong = json.dumps({"description": "The right hand is on the left knee."})
    latent, (wish,), backend = shortened(tmp_path, lambda _: wrong, clip_space, [described(long)])
    assert long.startswith(latent.texts[0]) and "beyond what the text encoder reads" in wish.notes[0]
    assert len(backend.requests) >= 1


def test_the_text_space_pulls_beside_the_statements(recovered):
    (person,) = read_start(recovered[1], BODY).persons
    wishes = [typed("the left elbow is bent sharply"), NOTHING_WANTED]
    text_space = space()
    latent, _ = latent_words(text_space, wishes)
    plain = StatementGuide(torch.stack([wish.signs for wish in wishes]))
    guide = latent.beside(plain)
    assert isinstance(guide, SumGuide) and guide.weight.tolist() == [10.0, 0.0]
    config = RefineConfig(num_steps=2)
    people = InitialPeople((person, replace(person, name="other")), "here")
    without, with_it = (refine_people(people, wishes, BODY, config, latent=some) for some in (None, latent))
    joints = [[p.body.rotmats for p in refined.persons] for refined in (without, with_it)]
    assert float((joints[0][0] - joints[1][0]).abs().max()) > 1e-3, "the one with words moves otherwise"
    torch.testing.assert_close(joints[0][1], joints[1][1])

    def cosine(person):
        features = text_space.text_features([latent.texts[0]])
        return float(text_space.text_pose_loss(person.body.rotmats[None], features).detach())

    assert cosine(with_it.persons[0]) < cosine(without.persons[0])


def test_a_space_from_a_file_has_the_same_budget(tmp_path):
    path = save_text_space(tmp_path / "s.safetensors", space(), BODY.skeleton_hash)
    assert budget_of(load_text_space(path, BODY.skeleton_hash)).words == 77
