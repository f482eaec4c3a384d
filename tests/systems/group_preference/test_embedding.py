"""Cases are found by what the memory was explored with: poses, CLIP, both, words; other models are refused by hash."""

from dataclasses import replace

import numpy as np
import pytest

from hmralign.critics.vlm.memory.embeddings import ClipEmbedder, GroupView
from hmralign.critics.vlm.memory.records import EmbeddingSpace
from hmralign.critics.vlm.memory.store import Memory
from hmralign.preferences.store import GroupStore
from hmralign.structures import InputError
from hmralign.systems.group_preference.embedding import crop_of, embedder_of, require_pictures, resolved
from hmralign.systems.group_preference.explore import freeze_memory
from hmralign.systems.group_preference.pictures import read_groups
from hmralign.systems.group_preference.score import score_facts, score_groups
from hmralign.systems.group_preference.settings import EmbeddingConfig
from hmralign.vlm.journal import Journal
from support.explorations import Run
from support.judged_stores import BODY, EXPLORE, JUDGE, SCORE, TruthJudge, asker, judged_store
from support.memory_builder import case, episode
from support.tiny_clip import save_clip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two CLIP models, a store to learn on and one to score, both with photos, and one without."""
    place = tmp_path_factory.mktemp("embedding")
    for seed in (0, 1):
        save_clip(place / f"clip{seed}", seed)
    judged_store(place / "learn", count=4, photos=True)
    judged_store(place / "score", persons_from=6, count=2, photos=True)
    judged_store(place / "bare", persons_from=8, count=2)
    return place


def by(kind, place=None, seed=0, weight=None):
    clip = None if place is None else str(place / f"clip{seed}")
    return EmbeddingConfig(kind, clip, weight)


def exploring(embedding, **changes):
    return replace(EXPLORE, judge=replace(JUDGE, embedding=embedding), **changes)


def scoring(embedding):
    return replace(SCORE, judge=replace(JUDGE, embedding=embedding))


@pytest.fixture(scope="module")
def learnt(place, tmp_path_factory):
    """A memory by CLIP, and its frozen copy."""
    run = Run(tmp_path_factory.mktemp("learnt"), place / "learn")
    run.report = run.explore(exploring(by("clip", place)))
    with run.memory() as memory:
        freeze_memory(memory, run.place / "frozen.sqlite")
    return run


def scored(place, learnt, embedding, name="vlm"):
    judge = TruthJudge(place / "score")
    with (
        Journal.open(learnt.place / f"{name}.sqlite") as journal,
        Memory.open(learnt.place / "frozen.sqlite") as memory,
    ):
        report = score_groups(
            place / "score", asker(judge.backend, journal), BODY, scoring(embedding), memory, name=name
        )
    return report, judge.backend.requests


def test_a_memory_has_clip_vectors_of_the_pictures_of_its_persons(place, learnt):
    clip = ClipEmbedder.from_folder(place / "clip0")
    store = GroupStore.open(place / "learn")
    groups = {g.episode: g for s in range(store.num_shards) for g in read_groups(store, s)}
    with learnt.memory() as memory:
        index = memory.prototype_index()
        assert memory.space == clip.space and memory.space.kind == "clip" and all(index.has_embedding)
        for name, vector in zip(index.episodes, index.embeddings, strict=True):
            np.testing.assert_array_equal(vector, clip(GroupView(crop=crop_of(groups[name]))))


def test_a_memory_is_scored_with_its_own_embedding(place, learnt):
    with pytest.raises(InputError, match=r"needs a CLIP model; expected its folder"):
        scored(place, learnt, EmbeddingConfig())
    with pytest.raises(InputError, match=r"finds its cases by clip .*clip1 gives clip .*; expected the same"):
        scored(place, learnt, by("clip", place, seed=1))
    with pytest.raises(InputError, match=r"finds its cases by clip, and pose is asked for"):
        scored(place, learnt, by("pose"))
    assert "vlm" not in GroupStore.open(place / "score").critics()  # nothing was begun, nothing was asked
    report, requests = scored(place, learnt, EmbeddingConfig(clip=str(place / "clip0")))
    assert report.judged == 2 and requests
    facts = GroupStore.open(place / "score").critic_facts("vlm")
    assert facts["settings"]["embedding"] == "clip"
    report, _ = scored(place, learnt, by("none"), name="words")
    assert report.judged == 2
    assert GroupStore.open(place / "score").critic_facts("words")["settings"]["embedding"] == "none"


def test_going_on_takes_the_memorys_own_and_refuses_others(place, learnt):
    asked, content = learnt.asked, learnt.content()
    again = learnt.explore(exploring(EmbeddingConfig(clip=str(place / "clip0"))))
    assert again.before == 4 and (learnt.asked, learnt.content()) == (asked, content)
    with pytest.raises(InputError, match="needs a CLIP model"):
        learnt.explore(EXPLORE)
    with pytest.raises(InputError, match="by clip, and mix is asked for"):
        learnt.explore(exploring(by("mix", place)))
    with pytest.raises(InputError, match="clip1 gives clip"):
        learnt.explore(exploring(by("clip", place, seed=1)))


def test_before_the_first_case_another_model_is_refused_too(place, tmp_path):
    run = Run(tmp_path, place / "learn")
    run.explore(exploring(by("clip", place), prototypes=False, groups=2))
    with pytest.raises(InputError, match=r"explored with vectors\.model = \"clip "):
        run.explore(exploring(by("clip", place, seed=1), prototypes=False, groups=2))


def test_a_mix_keeps_its_weight(place, tmp_path):
    run = Run(tmp_path, place / "learn")
    run.explore(exploring(by("mix", place, weight=0.3), groups=2))
    with run.memory() as memory:
        assert memory.space.kind == "mix" and memory.space.share == 0.3
        config = resolved(EmbeddingConfig(clip="x"), memory)
        assert config == EmbeddingConfig("mix", "x", 0.3) and config.record == {"kind": "mix", "weight": 0.3}
        assert embedder_of(by(None, place), memory).space == memory.space
    with pytest.raises(InputError, match=r"by mix with weight 0\.3, and mix with weight 0\.4 is asked for"):
        run.explore(exploring(by("mix", place, weight=0.4), groups=2))


def test_groups_without_a_photo_are_refused_before_anything_is_paid(place, tmp_path):
    run = Run(tmp_path, place / "bare")
    with pytest.raises(InputError, match=r"group 'wild/train/000008' has no photo, which CLIP needs"):
        run.explore(exploring(by("clip", place)))
    assert run.asked == 0
    store = GroupStore.open(place / "bare")
    require_pictures(store, embedder_of(by("pose")))
    require_pictures(store, None)


@pytest.mark.parametrize(
    ("asked", "kind", "record"),
    [(None, "pose", "pose"), ("pose", "pose", "pose"), ("none", "none", "none"), ("clip", "clip", "clip"),
     ("mix", "mix", {"kind": "mix", "weight": 0.5})],
)  # fmt: skip
def test_what_a_new_memory_takes(asked, kind, record):
    config = resolved(EmbeddingConfig(asked))
    assert config.kind == kind and config.record == record


def test_a_memory_of_poses(tmp_path):
    embedder = embedder_of(EmbeddingConfig())
    vector = np.eye(1, embedder.space.dim, dtype=np.float32)[0]
    with Memory.open(tmp_path / "m") as memory:
        memory.commit(episode("a", cases=[case(embedding=vector)]), embedder.space)
        for asked in (None, "pose"):
            assert embedder_of(EmbeddingConfig(asked), memory).space == memory.space
        assert embedder_of(EmbeddingConfig("none"), memory) is None
        for wrong in (EmbeddingConfig("clip", "x"), EmbeddingConfig(weight=0.5)):
            with pytest.raises(InputError, match="finds its cases by pose"):
                embedder_of(wrong, memory)
        with pytest.raises(InputError, match="a CLIP model is given, and the embedding is 'pose'"):
            embedder_of(EmbeddingConfig(clip="x"), memory)
        memory.freeze(tmp_path / "frozen")
    with Memory.open(tmp_path / "frozen") as frozen:
        assert score_facts("vlm", "m", SCORE, frozen).settings["embedding"] == "pose"
    with Memory.open(tmp_path / "other") as memory:
        other = EmbeddingSpace("pose", "1" * 64, embedder.space.dim)
        memory.commit(episode("a", cases=[case(embedding=vector)]), other)
        with pytest.raises(InputError, match="preparation 11111111"):
            embedder_of(EmbeddingConfig(), memory)


def test_wrong_settings_are_named(tmp_path):
    for wrong, message in (
        ({"kind": "pose", "clip": "x"}, "a CLIP model is given"), ({"kind": "clip", "weight": 0.5}, "expected mix"),
        ({"kind": "mix", "weight": 1.0}, "between 0 and 1"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            EmbeddingConfig(**wrong)
    with pytest.raises(InputError, match=r"lacks config\.json"):
        embedder_of(EmbeddingConfig("clip", str(tmp_path)))
    with pytest.raises(InputError, match="embedding is 'pose'; expected clip or mix"):
        resolved(EmbeddingConfig(clip="x"))
    with pytest.raises(InputError, match="embedding is 'pose'; expected mix"):
        resolved(EmbeddingConfig(weight=0.2))
