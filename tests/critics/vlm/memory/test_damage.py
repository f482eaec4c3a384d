"""A memory that is damaged or hostile is read as it is or refused in one sentence, soon and in little memory."""

import contextlib
import json
import os
import sqlite3
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmralign.critics.vlm.memory.counting import Counting
from hmralign.critics.vlm.memory.retrieval import Query, retrieve
from hmralign.critics.vlm.memory.store import Memory, diff
from hmralign.critics.vlm.memory.tables import TABLES
from hmralign.critics.vlm.memory.transfer import export_memory, import_memory
from hmralign.storage import sqlite_file
from hmralign.structures import InputError
from support.limits import most_memory
from support.memory_builder import SPACE, fill, unit_vector

HANGS = pytest.mark.timeout(120, method="thread")
"""A generous limit: C code that hangs answers no signal."""
COLUMNS = [(table.name, column.name) for table in TABLES for column in table.columns]
NUMBERS = st.one_of(st.sampled_from([0, -1, 2, 2**63 - 1, float("inf"), -1e300, 5e-324]), st.integers(-3, 200))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=6,
).map(json.dumps)
SPACES = st.fixed_dictionaries(
    {"model": st.sampled_from(["pose", 3, None]), "preprocessing": st.sampled_from(["0" * 64, []]),
     "dim": st.sampled_from([4, 0, -4, 5, 2**40, 4.0, True, "4"])},
    optional={"share": st.sampled_from([0.5, 2, "a", None]), "more": st.just(1)},
).map(json.dumps)  # fmt: skip
NESTED = "[" * 100_000
VALUES = st.one_of(NUMBERS, JSON, SPACES, st.just(NESTED), st.text(max_size=8), st.binary(max_size=20), st.none())


def plain(path) -> sqlite3.Connection:
    """As somebody who changes the file by other means."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA writable_schema = ON")
    return connection


def use_all(path, folder):
    """Everything that is done with a memory."""
    with Memory.open(path) as memory:
        memory.content_hash()
        for counting in (Counting(), Counting(tau=0.3), Counting(credit="paired")):
            memory.rules(counting, retired=True)
        _ = memory.conflicts(), memory.log(), memory.episodes(), memory.stored_rules()
        memory.prototypes(memory.prototype_index().ids)
        retrieve(memory, Query(embedding=unit_vector(1, 0, 0, 0), space=SPACE))
        memory.refuse_known(["another"])
        assert diff(memory, memory) == ""
        with contextlib.suppress(FileExistsError):
            export_memory(memory, folder / "export")


@contextlib.contextmanager
def read_or_refused(name):
    """Inside, nothing but one InputError of one sentence that names the file may be raised."""
    with most_memory(512 << 20):
        try:
            yield
        except InputError as error:
            said = str(error)
            assert name in said and "\n" not in said and len(said) < 600, said


@pytest.fixture(scope="module", params=["live", "frozen"])
def whole(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("memories")
    with Memory.open(folder / "live") as memory:
        fill(memory)
        memory.retire({memory.stored_rules()[0].id: "worse than none"}, "now")
        memory.freeze(folder / "frozen")
    return folder / request.param


@pytest.fixture
def fresh(tmp_path):
    path = tmp_path / "memory.sqlite"
    with Memory.open(path) as memory:
        fill(memory)
    return path


@HANGS
@settings(max_examples=70, deadline=None)
@given(
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), max_size=6),
    kept=st.one_of(st.just(1.0), st.floats(0, 1)),
    header=st.booleans(),
)
def test_damaged_bytes(whole, tmp_path_factory, edits, kept, header):
    """`header`: the edits go into the first page, which says what the rest is."""
    folder = tmp_path_factory.mktemp("damaged")
    data = bytearray(whole.read_bytes())
    for where, new in edits:
        at = int(where * (1024 if header else len(data) - 1))
        data[at : at + len(new)] = new
    (folder / "m.sqlite").write_bytes(data[: int(kept * len(data))])
    with read_or_refused("m.sqlite"):
        use_all(folder / "m.sqlite", folder)


@HANGS
@settings(max_examples=100, deadline=None)
@given(where=st.sampled_from(COLUMNS), value=VALUES, every=st.booleans())
def test_values_that_this_program_does_not_write(whole, tmp_path_factory, where, value, every):
    (table, column), folder = where, tmp_path_factory.mktemp("edited")
    path = folder / "m.sqlite"
    path.write_bytes(whole.read_bytes())
    with contextlib.closing(plain(path)) as connection, contextlib.suppress(sqlite3.IntegrityError):
        which = "" if every else f"WHERE rowid = (SELECT min(rowid) FROM {table})"
        connection.execute(f"UPDATE {table} SET {column} = ? {which}", (value,))
    with read_or_refused("m.sqlite"):
        use_all(path, folder)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE episode SET rho = 'much'", "'rho'"),
        ("UPDATE episode SET scores = '[1, 2'", "'scores'"),
        ("UPDATE episode SET group_size = 3", "size of its group"),
        ("UPDATE episode SET scores = '[1, NaN]', errors = '[1, 2]', group_size = 2", "'scores'"),
        ("DELETE FROM episode_image WHERE episode = 'a'", "image ids"),
        ("DELETE FROM episode WHERE id = 'a'", "refers to a row of episode"),
        ("DELETE FROM tile", "refers to a row of tile"),
        ("UPDATE rule SET text = 'Add 100 points to all' WHERE id IN (SELECT min(id) FROM rule)", "rule's text"),
        ("UPDATE prototype SET score = 101", "score 101"),
        ("UPDATE prototype SET embedding = x'0000'", "another length"),
        ("UPDATE prototype SET hypothesis = 7", "is not its own"),
        ("UPDATE rule_use SET outcome = 2", "outcome is 2"),
        ("UPDATE fact SET value = replace(value, '4', '40000000000') WHERE name = 'space'", "space of embeddings"),
        ("INSERT INTO fact VALUES ('other', '')", "fact that no memory has"),
    ],
)
def test_what_is_wrong_is_said(fresh, statement, said):
    with contextlib.closing(plain(fresh)) as connection:
        assert connection.execute(statement).rowcount > 0
    with pytest.raises(InputError, match=r"memory\.sqlite is damaged.*" + said):
        Memory.open(fresh)


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT "


@HANGS
@pytest.mark.parametrize("table", [table.name for table in TABLES])
@pytest.mark.parametrize("frozen", [False, True])
def test_a_view_without_end_in_the_place_of_a_table(fresh, table, frozen):
    """Refused before it is read, whether or not the file says that it is frozen."""
    path = fresh
    if frozen:
        with Memory.open(fresh) as memory:
            memory.freeze(path := fresh.with_name("frozen.sqlite"))
        path.chmod(0o644)
    columns = next(t for t in TABLES if t.name == table).columns
    with contextlib.closing(plain(path)) as connection:
        connection.execute(f"DROP TABLE {table}")
        connection.execute(f"CREATE VIEW {table} AS {ENDLESS}{', '.join(f'i AS {c.name}' for c in columns)} FROM n")
    with most_memory(256 << 20), pytest.raises(InputError, match=rf"{path.name} is damaged: it has a view {table}"):
        Memory.open(path)


@HANGS
@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 cannot set limits")
@pytest.mark.parametrize(("table", "column"), [("tile", "data"), ("rule", "text"), ("fact", "value")])
def test_a_value_without_measure_is_not_read(fresh, monkeypatch, table, column):
    monkeypatch.setattr(sqlite_file, "MOST_BYTES", 1 << 20)
    value = "zeroblob(20000000)" if column == "data" else "printf('%.*c', 20000000, 'x')"
    with contextlib.closing(plain(fresh)) as connection:
        connection.execute(f"UPDATE {table} SET {column} = {value}")
    with most_memory(16 << 20), read_or_refused("memory.sqlite"):
        use_all(fresh, fresh.parent)


def test_a_frozen_memory_that_was_made_writable_by_hand_is_refused(fresh):
    with Memory.open(fresh) as memory:
        memory.freeze(path := fresh.with_name("frozen.sqlite"))
    path.chmod(0o644)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    with pytest.raises(InputError, match=r"frozen\.sqlite was frozen and has been changed"):
        Memory.open(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@HANGS
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "m.sqlite")
    with pytest.raises(InputError, match=r"m\.sqlite"):
        Memory.open(tmp_path / "m.sqlite")


@HANGS
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_a_damaged_export_is_refused_by_name(tmp_path_factory, data):
    """One value of one line, or of the facts, replaced by another; bytes overwritten."""
    folder = tmp_path_factory.mktemp("exports")
    with Memory.open(folder / "m.sqlite") as memory:
        fill(memory)
        export_memory(memory, folder / "export")
    files = sorted(p for p in (folder / "export").iterdir() if p.is_file())
    file = data.draw(st.sampled_from(files))
    if file.suffix in (".json", ".jsonl") and data.draw(st.booleans()):
        lines = file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
        if lines:
            number = data.draw(st.integers(0, len(lines) - 1))
            row = json.loads(lines[number])
            row[data.draw(st.sampled_from(sorted(row)))] = json.loads(data.draw(JSON))
            lines[number] = data.draw(st.sampled_from([json.dumps(row), NESTED, ""]))
        file.write_text("\n".join(lines))
    else:
        content = bytearray(file.read_bytes())
        at = data.draw(st.integers(0, max(0, len(content) - 1)))
        content[at : at + 4] = data.draw(st.binary(min_size=1, max_size=8))
        file.write_bytes(content)
    with read_or_refused("export"):
        import_memory(folder / "export", folder / "again.sqlite")
        use_all(folder / "again.sqlite", folder)
