"""One memory of two: nothing is lost, nothing is counted twice, and the order does not matter."""

import pytest

from hmralign.critics.vlm.memory.merging import merge_memories
from hmralign.critics.vlm.memory.records import EmbeddingSpace, NewRule
from hmralign.critics.vlm.memory.store import Memory, diff
from hmralign.critics.vlm.memory.transfer import export_memory, import_memory
from hmralign.structures import InputError
from support.memory_builder import RULES, SPACE, case, episode, fill, unit_vector

AGAIN = NewRule("If A FOOT floats above the ground: deduct 5 points!", ("contact",), "another")
OTHER_WORDS = NewRule("When a foot clearly floats above the ground, deduct 8 points", ("contact", "feet"), "another")
OPPOSITE = NewRule("If a hand enters the torso, do not deduct points", ("penetration",), "another")
NEW = NewRule("If the head looks away, deduct 3 points", ("head",), "another")


@pytest.fixture
def two(tmp_path):
    """A filled memory, and one with other episodes, one rule in common, its opposite and a new one."""
    with Memory.open(tmp_path / "a") as a, Memory.open(tmp_path / "b") as b:
        fill(a)
        b.add_rules([AGAIN, OPPOSITE, NEW], "2026-02-02")
        vector = unit_vector(0, 0, 1, 0)
        b.commit(episode("d", 0.8, [AGAIN.id, NEW.id], [case(1, 70.0, vector, photo=b"p", overlay=b"o")]), SPACE)
        b.commit(episode("e", 0.2, [AGAIN.id], controls=[(OPPOSITE.id, -0.3)]), SPACE)
        yield a, b


def merged(first, second, path, **options):
    said = merge_memories(first, second, path, "now", **options)
    return said, Memory.open(path)


def counts(memory):
    return {rule.id: (rule.uses, rule.successes) for rule in memory.rules(retired=True)}


def test_everything_of_both_is_there_and_counters_are_sums(tmp_path, two):
    a, b = two
    said, memory = merged(a, b, tmp_path / "m")
    with memory:
        assert said.sha256 == memory.content_hash() and memory.space == SPACE and not memory.frozen
        assert {e.id for e in memory.episodes()} == {"a", "b", "c", "d", "e"}
        assert len(memory.log()) == len(a.log()) + len(b.log())
        ours, theirs, both = counts(a), counts(b), counts(memory)
        for name in ours.keys() | theirs.keys():
            pair = zip(ours.get(name, (0, 0)), theirs.get(name, (0, 0)), strict=True)
            assert both[name] == tuple(x + y for x, y in pair)
        index = memory.prototype_index()
        assert set(index.ids) == {*a.prototype_index().ids, *b.prototype_index().ids} and all(index.has_embedding)
        assert {p.photo for p in memory.prototypes(index.ids)} == {b"photo a", b"photo b", b"p"}
        assert memory.commit(episode("f", rules=[NEW.id]))
    assert not [p for p in tmp_path.iterdir() if ".part" in p.name]


def test_the_same_rule_is_there_once_and_the_older_entry_stays(tmp_path, two):
    assert AGAIN.id == RULES[0].id
    _, memory = merged(*two, tmp_path / "m")
    with memory:
        stored = {rule.id: rule for rule in memory.stored_rules()}
        assert len(stored) == 5 and stored[AGAIN.id].text == RULES[0].text and stored[AGAIN.id].author == "a person"


def test_opposites_of_the_two_are_marked(tmp_path, two):
    said, memory = merged(*two, tmp_path / "m")
    pair = tuple(sorted((RULES[2].id, OPPOSITE.id)))
    with memory:
        assert said.opposite == (pair,) and pair in memory.conflicts()


def test_which_comes_first_does_not_matter(tmp_path, two):
    a, b = two
    b.add_rules([OTHER_WORDS], "2026-02-03")
    (first, one), (second, other) = merged(a, b, tmp_path / "ab"), merged(b, a, tmp_path / "ba")
    with one, other:
        assert first == second and diff(one, other) == ""


def test_merged_with_itself_or_with_nothing_it_stays_what_it_is(tmp_path, two):
    a, _ = two
    with Memory.open(tmp_path / "empty") as empty:
        for number, other in enumerate((a, empty)):
            said, memory = merged(a, other, tmp_path / str(number))
            with memory:
                assert said.sha256 == a.content_hash() and not said.same and not said.opposite


def test_the_same_in_other_words_is_retired_and_keeps_its_log(tmp_path, two):
    a, _ = two
    with Memory.open(tmp_path / "apart") as apart:  # without the rule in the same words
        apart.add_rules([OTHER_WORDS], "2026-02-03")
        apart.commit(episode("h", 0.9, [OTHER_WORDS.id]))
        said, memory = merged(a, apart, tmp_path / "m")
        with memory:
            assert said.same == ((RULES[0].id, OTHER_WORDS.id),)
            gone = next(r for r in memory.stored_rules() if r.id == OTHER_WORDS.id)
            assert RULES[0].id in gone.retired and gone.author == "another"
            assert counts(memory)[OTHER_WORDS.id] == (1, 1) and OTHER_WORDS.id not in {r.id for r in memory.rules()}


def test_a_retired_rule_stays_retired_unless_it_was_only_left_out(tmp_path, two):
    a, b = two
    a.retire({RULES[0].id: "does harm"}, "now")
    a.freeze(tmp_path / "frozen", keep=[RULES[1].id])
    b.add_rules([RULES[2]], "now")
    with Memory.open(tmp_path / "frozen") as frozen:
        _, memory = merged(frozen, b, tmp_path / "m")
    with memory:
        retired = {r.id: r.retired for r in memory.stored_rules() if r.retired}
        assert retired == {RULES[0].id: "does harm"}  # the other memory shows RULES[2]


def test_one_without_pictures_takes_them_from_the_other(tmp_path, two):
    a, _ = two
    export_memory(a, tmp_path / "folder", images=False)
    import_memory(tmp_path / "folder", tmp_path / "bare")
    with Memory.open(tmp_path / "bare") as bare:
        for number, pair in enumerate(((a, bare), (bare, a))):
            said, memory = merged(*pair, tmp_path / str(number))
            with memory:
                assert said.sha256 == a.content_hash()


def test_what_does_not_go_together_is_refused_and_leaves_nothing(tmp_path, two):
    a, b = two
    with pytest.raises(InputError, match="exists already"):
        merge_memories(a, b, b.path)
    b.commit(episode("a", 0.1))  # the same group, judged in another way
    with pytest.raises(InputError, match=r"episode a is not the same in .*a and .*b"):
        merge_memories(a, b, tmp_path / "m")
    with Memory.open(tmp_path / "clip") as other:
        space = EmbeddingSpace("clip 0123", "1" * 64, 4)
        other.commit(episode("z", 0.8, cases=[case(0, 50.0, unit_vector(1, 1, 0, 0))]), space)
        with pytest.raises(InputError, match="clip 0123"):
            merge_memories(a, other, tmp_path / "m")
    assert not [p for p in tmp_path.iterdir() if p.name.startswith("m")]
