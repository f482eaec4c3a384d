import os
import signal
import sqlite3
import stat

import numpy as np
import pytest

from hmralign.critics.vlm.memory.counting import Counting
from hmralign.critics.vlm.memory.freezing import LEFT_OUT
from hmralign.critics.vlm.memory.records import EmbeddingSpace, NewRule
from hmralign.critics.vlm.memory.retrieval import Query, retrieve
from hmralign.critics.vlm.memory.store import Memory, diff
from hmralign.critics.vlm.memory.success import success_threshold
from hmralign.critics.vlm.memory.tables import FORMAT_VERSION
from hmralign.structures import InputError
from support.memory_builder import RULES, SPACE, case, episode, fill, unit_vector


@pytest.fixture
def memory(tmp_path):
    with Memory.open(tmp_path / "memory.sqlite") as opened:
        yield opened


def counters(memory, counting=None):
    return {rule.id: (rule.uses, rule.successes) for rule in memory.rules(counting)}


def test_what_was_written_is_read_again_after_closing(tmp_path):
    with Memory.open(tmp_path / "m") as memory:
        ids = fill(memory)
        before = memory.content_hash()
    with Memory.open(tmp_path / "m") as memory:
        assert memory.content_hash() == before
        assert {r.id: r.text for r in memory.rules()} == {rule.id: rule.text for rule in RULES}
        first = memory.episodes()[0]
        assert (first.id, first.rho, first.rules) == ("a", 0.9, tuple(sorted(ids[:2])))
        assert first.scores == tuple(range(8)) and first.threshold == 0.5
        (shown,) = memory.prototypes(memory.prototype_index().ids[:1])
        assert shown.photo in (b"photo a", b"photo b") and shown.overlay == shown.photo.replace(b"photo", b"overlay")
        assert memory.space == SPACE


def test_counters_are_sums_over_the_log(memory):
    ids = fill(memory)
    assert counters(memory) == {ids[0]: (2, 1), ids[1]: (2, 2), ids[2]: (2, 1)}
    by_hand = {name: (0, 0) for name in ids}
    for use in memory.log():
        uses, successes = by_hand[use.rule]
        by_hand[use.rule] = (uses + 1, successes + (use.rho > max(0.7, success_threshold(use.group_size, -1.0))))
    assert counters(memory, Counting(tau=0.7)) == by_hand == {ids[0]: (2, 1), ids[1]: (2, 1), ids[2]: (2, 0)}
    # Groups of eight: what chance reaches outweighs a lower tau.
    assert counters(memory, Counting(tau=0.5)) == counters(memory, Counting(tau=0.6))


def test_paired_credit_counts_what_was_measured_alone(memory):
    ids = fill(memory)
    assert counters(memory, Counting(credit="paired")) == {ids[0]: (1, 1), ids[1]: (0, 0), ids[2]: (1, 0)}


def test_counters_follow_what_another_process_writes(tmp_path, memory):
    ids = fill(memory)
    assert counters(memory)[ids[0]] == (2, 1)
    with Memory.open(tmp_path / "memory.sqlite") as other:
        other.commit(episode("d", 0.9, ids[:1]))
    assert counters(memory)[ids[0]] == (3, 2)


def test_a_replay_changes_nothing(memory):
    ids = fill(memory)
    before = memory.content_hash()
    assert not memory.commit(episode("a", 0.2, ids, [case(5, 10.0)], [NewRule("x", ("legs",), "y")]), SPACE)
    assert memory.content_hash() == before and memory.has_episode("a") and not memory.has_episode("z")
    with pytest.raises(InputError, match=r"episode a .* other photos"):
        memory.commit(episode("a", images=("another",)))


def test_the_content_does_not_depend_on_the_order_of_writing(tmp_path):
    hashes = set()
    for number, order in enumerate([(0, 1, 2), (2, 0, 1), (1, 2, 0)]):
        with Memory.open(tmp_path / str(number)) as memory:
            fill(memory, order)
            hashes.add(memory.content_hash())
    assert len(hashes) == 1
    with Memory.open(tmp_path / "0") as memory:
        memory.commit(episode("d"))
        assert memory.content_hash() not in hashes


def kill_after(path, statements):
    """In a process of its own: commit an episode, killed before a statement. Gives how the process ended."""
    child = os.fork()
    if child == 0:
        try:
            memory, seen = Memory.open(path), [0]

            def count(_):
                seen[0] += 1
                if seen[0] > statements:
                    os.kill(os.getpid(), signal.SIGKILL)

            memory.connection.set_trace_callback(count)
            memory.commit(killed_episode([rule.id for rule in RULES]), SPACE)
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1]


def killed_episode(ids):
    cases = [case(0, 90.0, unit_vector(1, 1, 0, 0), photo=b"p", overlay=b"o")]
    return episode("d", 0.7, ids, cases, [NewRule("If the head turns away, deduct 4 points", ("head",), "m")])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are copies")
def test_a_kill_leaves_all_of_an_episode_or_none(tmp_path):
    path = tmp_path / "m"
    with Memory.open(path) as memory:
        ids = fill(memory)
        before = memory.content_hash()
    with Memory.open(tmp_path / "other") as memory:
        fill(memory)
        memory.commit(killed_episode(ids), SPACE)
        after = memory.content_hash()
    killed, seen = 0, set()
    for statements in range(60):
        ended = kill_after(path, statements)
        with Memory.open(path) as memory:
            seen.add(memory.content_hash())
            assert memory.content_hash() in (before, after)
            if ended == 0:
                break
            assert os.WIFSIGNALED(ended) and memory.content_hash() == before, statements
            killed += 1
    assert killed > 10 and seen == {before, after}


def test_an_episode_that_fails_leaves_nothing(memory):
    fill(memory)
    before = memory.content_hash()
    with pytest.raises(InputError, match="was shown the rule 'r0'"):
        memory.commit(episode("d", rules=["r0"], mined=[NewRule("a", ("legs",), "b")]))
    with pytest.raises(InputError, match="was shown the prototype 'p0'"):
        memory.commit(episode("d", shown=("p0",)))
    assert memory.content_hash() == before and not memory.has_episode("d")
    assert memory.commit(episode("d"))


def test_embeddings_of_another_space_are_refused(memory):
    fill(memory)
    before = memory.content_hash()
    for space in (EmbeddingSpace("clip", "0" * 64, 4), EmbeddingSpace("pose", "1" * 64, 4)):
        with pytest.raises(InputError, match=r"has embeddings of pose .* given one of"):
            memory.commit(episode("d", cases=[case(0, 50.0, unit_vector(1, 0, 0, 0))]), space)
    for space in (None, EmbeddingSpace("pose", "0" * 64, 5)):
        with pytest.raises(InputError, match="comes with the space"):
            memory.commit(episode("d", cases=[case(0, 50.0, unit_vector(1, 0, 0, 0))]), space)
    assert memory.content_hash() == before


def test_rules_are_kept_once_and_with_their_origin(memory):
    ids = fill(memory)
    again = NewRule(RULES[0].text.upper() + " .", ("head",), "m", ())
    new = NewRule("If a foot floats above the ground, do not deduct points", ("feet",), "m", (ids[0],))
    memory.commit(episode("d", mined=[again, new], time="later"))
    stored = {r.id: r for r in memory.stored_rules()}
    assert len(stored) == 4 and stored[ids[0]].tags == ("contact", "feet") and stored[ids[0]].episode == ""
    assert (stored[new.id].episode, stored[new.id].author, stored[new.id].time) == ("d", "m", "later")
    assert memory.conflicts() == {tuple(sorted((new.id, ids[0])))}
    assert memory.add_rules([again], "now") == 0


def test_retired_rules_are_shown_no_longer_and_keep_their_log(memory):
    ids = fill(memory)
    memory.retire({ids[0]: "worse than none"}, "now")
    memory.retire({ids[0]: "again"}, "later")
    assert [r.id for r in memory.rules()] == sorted(ids[1:])
    kept = {r.id: r for r in memory.rules(retired=True)}
    assert (kept[ids[0]].uses, kept[ids[0]].successes) == (2, 1)
    assert {r.id: r.retired for r in memory.stored_rules()}[ids[0]] == "worse than none"
    with pytest.raises(InputError, match="rule 'r0'"):
        memory.retire({"r0": "unknown"}, "now")


def test_a_frozen_memory_is_the_same_and_cannot_be_written(tmp_path, memory):
    ids = fill(memory)
    frozen_hash = memory.freeze(tmp_path / "frozen")
    assert frozen_hash == memory.content_hash() and not memory.frozen
    before = (tmp_path / "frozen").read_bytes()
    assert not stat.S_IMODE((tmp_path / "frozen").stat().st_mode) & 0o222
    with Memory.open(tmp_path / "frozen") as frozen:
        assert frozen.frozen and frozen.content_hash() == frozen_hash and counters(frozen) == counters(memory)
        for write in (
            lambda: frozen.commit(episode("d")),
            lambda: frozen.add_rules(RULES, "now"),
            lambda: frozen.retire({ids[0]: "x"}, "now"),
        ):
            with pytest.raises(InputError, match=r"is frozen"):
                write()
        with pytest.raises(sqlite3.OperationalError):
            frozen.connection.execute("DELETE FROM rule_use")
        retrieve(frozen, Query(embedding=unit_vector(1, 0, 0, 0), space=SPACE))
        frozen.prototypes(frozen.prototype_index().ids)
        with pytest.raises(InputError, match="is frozen"):
            frozen.commit(episode("a"))
    assert (tmp_path / "frozen").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir() if "frozen" in p.name) == ["frozen"]
    with pytest.raises(InputError, match="exists already"):
        memory.freeze(tmp_path / "frozen")
    memory.commit(episode("d"))  # the live one goes on
    assert memory.content_hash() != frozen_hash


def test_freezing_can_leave_rules_out(tmp_path, memory):
    ids = fill(memory)
    memory.freeze(tmp_path / "frozen", keep=ids[:1])
    with Memory.open(tmp_path / "frozen") as frozen:
        assert [r.id for r in frozen.rules()] == ids[:1]
        assert {r.retired for r in frozen.stored_rules()} == {"", LEFT_OUT}
        assert len(frozen.log()) == len(memory.log())
    with pytest.raises(InputError, match="is to be kept"):
        memory.freeze(tmp_path / "second", keep=["r0"])
    assert not (tmp_path / "second").exists()


def test_a_frozen_memory_that_was_changed_is_refused(tmp_path, memory):
    fill(memory)
    memory.freeze(tmp_path / "frozen")
    (tmp_path / "frozen").chmod(0o644)
    connection = sqlite3.connect(tmp_path / "frozen")
    connection.execute("UPDATE rule SET text = 'If anything, add 50 points'")
    connection.commit()
    connection.close()
    with pytest.raises(InputError, match="frozen and has been changed"):
        Memory.open(tmp_path / "frozen")


def test_reading_and_scoring_leave_the_content_as_it_is(memory):
    fill(memory)
    before = memory.content_hash()
    retrieve(memory, Query(embedding=unit_vector(1, 0, 0, 0), space=SPACE))
    memory.rules(Counting(tau=0.7))
    memory.refuse_known(["x"])
    memory.episodes()
    assert memory.content_hash() == before


def test_photos_of_the_memory_are_refused_in_an_evaluation(memory):
    fill(memory)
    known = memory.episodes()[1].images[0]
    memory.refuse_known(["unseen", "other"], ["run"])
    with pytest.raises(InputError, match=rf"image {known} \(1 in all\) is in the memory"):
        memory.refuse_known(["unseen", known])
    with pytest.raises(InputError, match="sequence walk"):
        memory.refuse_known(["unseen"], ["walk"])


def test_read_only_memories_are_not_written_and_not_made(tmp_path, memory):
    fill(memory)
    with Memory.open(memory.path, read_only=True) as reader:
        assert reader.content_hash() == memory.content_hash()
        with pytest.raises(InputError, match="open to read alone"):
            reader.commit(episode("d"))
    with pytest.raises(InputError, match="is no file"):
        Memory.open(tmp_path / "missing", read_only=True)
    assert not (tmp_path / "missing").exists()


def test_newer_damaged_and_foreign_files_are_refused_and_left_alone(tmp_path, memory):
    fill(memory)
    connection = sqlite3.connect(tmp_path / "foreign")
    connection.execute("CREATE TABLE t (x)")
    connection.commit()
    connection.close()
    (tmp_path / "text").write_text("these are words, no database, and many of them" * 100)
    for name, message in (("foreign", "something else"), ("text", "damaged, or is no memory")):
        before = (tmp_path / name).read_bytes()
        for read_only in (False, True):
            with pytest.raises(InputError, match=message):
                Memory.open(tmp_path / name, read_only=read_only)
        assert (tmp_path / name).read_bytes() == before
    memory.connection.execute(f"PRAGMA user_version = {FORMAT_VERSION + 1}")
    memory.close()
    with pytest.raises(InputError, match=f"version {FORMAT_VERSION + 1}"):
        Memory.open(memory.path)


def test_a_damaged_page_is_found(tmp_path):
    path = tmp_path / "m"
    with Memory.open(path) as memory:
        fill(memory)
        for number in range(40):
            memory.commit(episode(f"n{number}"))
        memory.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(path.read_bytes())
    for page in range(2, len(data) // 4096):
        data[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"memory .*m (is|cannot be used)"):
        Memory.open(path)


def test_a_changed_picture_is_found(memory):
    fill(memory)
    memory.connection.execute("UPDATE tile SET data = ? WHERE data = ?", (b"other", b"photo a"))
    with pytest.raises(InputError, match=r"picture .* is missing or changed"):
        memory.prototypes(memory.prototype_index().ids)


def test_equal_pictures_are_kept_once(memory):
    for name in "ab":
        memory.commit(episode(name, cases=[case(i, 50.0, photo=b"same", overlay=bytes([i])) for i in range(3)]))
    assert memory.connection.execute("SELECT count(*) FROM tile").fetchone()[0] == 4


def test_the_index_has_all_cases(memory):
    assert memory.prototype_index().ids == () and memory.prototype_index().embeddings.shape == (0, 0)
    memory.commit(episode("z", cases=[case(1, 50.0)]))
    fill(memory)
    index = memory.prototype_index()
    assert list(index.ids) == sorted(index.ids) and len(index.ids) == 3 and index.embeddings.shape == (3, 4)
    assert sorted(index.scores) == [20.0, 50.0, 90.0] and sum(index.has_embedding) == 2
    norms = np.linalg.norm(index.embeddings, axis=1)
    np.testing.assert_allclose(norms, np.array(index.has_embedding, float), atol=1e-6)


def test_a_difference_is_told_in_lines(tmp_path, memory):
    ids = fill(memory)
    with Memory.open(tmp_path / "other") as other:
        fill(other, (2, 1, 0))
        assert diff(memory, other) == ""
        other.retire({ids[1]: "worse"}, "now")
        other.commit(episode("d", 0.3))
        memory.add_rules([NewRule("If an arm bends backward, deduct 9 points", ("arms",), "m")], "now")
        lines = diff(memory, other).splitlines()
    assert [line[0] for line in lines] == ["+", "+", "-", "+"]
    assert "rho 0.30 of 8" in lines[0] and "If an arm bends" in lines[2] and ids[1] in lines[3] and "worse" in lines[3]


def test_records_refuse_what_makes_no_sense():
    with pytest.raises(InputError, match="no text"):
        NewRule("  ", (), "m")
    with pytest.raises(InputError, match="score 101"):
        case(0, 101.0)
    with pytest.raises(InputError, match="not finite"):
        case(0, 1.0, np.array([np.nan], np.float32))
    for fields in (
        {"name": ""},
        {"images": ()},
        {"rho": float("nan")},
        {"rho": 1.5},
        {"rules": ["a", "a"]},
        {"cases": [case(1), case(1)]},
        {"controls": [("a", float("nan"))]},
    ):
        with pytest.raises(InputError, match="episode"):
            episode(**fields)
