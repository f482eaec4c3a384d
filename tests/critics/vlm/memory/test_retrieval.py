import numpy as np
import pytest

from hmralign.critics.vlm.memory.records import EmbeddingSpace, prototype_id
from hmralign.critics.vlm.memory.retrieval import Query, RetrievalOptions, choose_prototypes, retrieve
from hmralign.critics.vlm.memory.store import Memory
from hmralign.structures import InputError
from support.memory_builder import SPACE, case, episode, fill, unit_vector


@pytest.fixture
def memory(tmp_path):
    with Memory.open(tmp_path / "memory.sqlite") as opened:
        yield opened


def query(*values, **fields):
    return Query(embedding=unit_vector(*values), space=SPACE, **fields)


def add(memory, name, values, score=50.0, **fields):
    """An episode with one case; gives the case's id."""
    tags = fields.pop("tags", ("legs",))
    reasoning = fields.pop("reasoning", "said")
    vector = None if values is None else unit_vector(*values)
    memory.commit(episode(name, cases=[case(0, score, vector, tags, reasoning=reasoning)], **fields), SPACE)
    return prototype_id(name, 0)


def shown(memory, question, **options):
    return retrieve(memory, question, RetrievalOptions(**options)).prototypes


def test_without_diversity_the_nearest_are_shown_as_a_sort_would(memory):
    draw = np.random.default_rng(0)
    vectors = {add(memory, f"e{i}", v): unit_vector(*v) for i, v in enumerate(draw.normal(size=(40, 4)))}
    question = query(*draw.normal(size=4))
    order = sorted(vectors, key=lambda name: -float(vectors[name] @ question.embedding))
    assert shown(memory, question, prototypes=6, diversity=0.0) == tuple(order[:6])


def test_own_photos_videos_and_near_duplicates_are_not_shown(memory):
    own = add(memory, "own", (1, 0.3, 0, 0), images=("photo",))
    frame = add(memory, "frame", (1, 0.2, 0, 0), sequence="walk")
    twin = add(memory, "twin", (1, 0.0001, 0, 0))
    rest = add(memory, "rest", (1, 0.4, 0, 0))
    assert set(shown(memory, query(1, 0, 0, 0), prototypes=9)) == {own, frame, rest}
    question = query(1, 0, 0, 0, images=("photo",), sequence="walk")
    assert shown(memory, question, prototypes=9) == (rest,)
    assert twin in shown(memory, question, prototypes=9, near_duplicate=1.1)


def test_an_empty_sequence_is_no_sequence(memory):
    name = add(memory, "a", (0, 1, 0, 0))
    assert shown(memory, query(1, 0.1, 0, 0)) == (name,)


def test_diverse_cases_are_preferred_to_copies(memory):
    first = add(memory, "a", (1, 0.30, 0, 0))
    copy = add(memory, "b", (1, 0.31, 0, 0))
    other = add(memory, "c", (1, 0, 0.8, 0))
    assert shown(memory, query(1, 0.1, 0, 0), prototypes=2, diversity=0.0) == (first, copy)
    assert shown(memory, query(1, 0.1, 0, 0), prototypes=2, diversity=0.5) == (first, other)


def test_a_good_and_a_bad_case_are_among_them(memory):
    middle = [add(memory, f"m{i}", (1, 0.2 + 0.1 * i, 0, 0), 50.0) for i in range(3)]
    good = add(memory, "good", (0, 0, 1, 0), 95.0)
    bad = add(memory, "bad", (0, 0, 1, 0.1), 5.0)
    worse = add(memory, "worse", (0, 0, 0, 1), 1.0)
    chosen = shown(memory, query(1, 0, 0, 0), prototypes=3, diversity=0.0)
    assert set(chosen) == {middle[0], good, bad} and worse not in chosen
    assert set(shown(memory, query(1, 0, 0, 0), prototypes=2, diversity=0.0)) == {good, bad}
    assert shown(memory, query(1, 0, 0, 0), prototypes=1) == (middle[0],)


def test_the_only_good_case_is_not_given_up_for_a_bad_one(memory):
    good = add(memory, "good", (1, 0.5, 0, 0), 95.0)
    near = add(memory, "near", (1, 0.1, 0, 0), 50.0)
    bad = add(memory, "bad", (0, 1, 0, 0), 5.0)
    assert set(shown(memory, query(1, 0, 0, 0), prototypes=2, diversity=0.0)) == {good, bad}
    assert near not in shown(memory, query(1, 0, 0, 0), prototypes=2, diversity=0.0)


def test_tags_of_the_cases_decide_about_the_rules(memory):
    ids = fill(memory)
    add(memory, "feet", (0, 0, 1, 0), tags=("feet", "contact"))
    add(memory, "hands", (0, 0, 0, 1), tags=("hands", "penetration"))
    feet, hands = (
        retrieve(memory, query(*v), RetrievalOptions(prototypes=1, rules=1)) for v in [(0, 0, 1, 0.4), (0, 0, 0.4, 1)]
    )
    assert feet.tags == ("contact", "feet") and feet.rules == (ids[0],)
    assert hands.tags == ("hands", "penetration") and hands.rules == (ids[2],)
    assert feet.context.rules[0].uses == 2 and feet.context.prototypes[0].id == feet.prototypes[0]
    known = retrieve(memory, Query(tags=("depth_order",)), RetrievalOptions(prototypes=0, rules=1))
    assert known.rules == (ids[1],) and known.prototypes == ()


def test_without_embeddings_words_are_compared(memory):
    feet = add(memory, "a", None, reasoning="the left foot floats above the ground")
    hands = add(memory, "b", None, reasoning="a hand enters the belly")
    floating, belly = "a floating foot on the ground", "hand and belly"
    for question, first in ((floating, feet), (belly, hands)):
        assert shown(memory, Query(text=question), prototypes=2)[0] == first
        # A memory without vectors is asked with one.
        assert shown(memory, query(1, 0, 0, 0, text=question), prototypes=2)[0] == first
    assert set(shown(memory, Query(), prototypes=2)) == {feet, hands}


def test_cases_without_an_embedding_are_left_out_where_others_have_one(memory):
    add(memory, "a", None)
    name = add(memory, "b", (0, 1, 0, 0))
    assert shown(memory, query(1, 1, 0, 0)) == (name,)


def test_an_empty_memory_gives_nothing(memory):
    found = retrieve(memory, query(1, 0, 0, 0))
    assert found.context.rules == found.context.prototypes == found.rules == found.prototypes == found.tags == ()


def test_an_embedding_of_another_space_is_refused(memory):
    fill(memory)
    other = Query(embedding=unit_vector(1, 0, 0, 0), space=EmbeddingSpace("clip", "0" * 64, 4))
    with pytest.raises(InputError, match="given one of clip"):
        retrieve(memory, other)
    with pytest.raises(InputError, match="comes with the space"):
        retrieve(memory, Query(embedding=unit_vector(1, 0, 0), space=SPACE))


def test_the_same_question_finds_the_same(memory):
    for i, v in enumerate(np.random.default_rng(1).normal(size=(30, 4))):
        add(memory, f"e{i}", v, score=float(3 * i))
    index, question = memory.prototype_index(), query(1, 0, 0, 0)
    first = choose_prototypes(index, question, RetrievalOptions(prototypes=5))
    assert first == choose_prototypes(index, question, RetrievalOptions(prototypes=5)) and len(set(first)) == 5


def test_wrong_settings_are_named():
    with pytest.raises(InputError, match="-1 prototypes"):
        RetrievalOptions(prototypes=-1)
    with pytest.raises(InputError, match="low below high"):
        RetrievalOptions(low=80.0)
