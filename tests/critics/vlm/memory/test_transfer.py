import json

import pytest

from hmralign.critics.vlm.memory.store import Memory, diff
from hmralign.critics.vlm.memory.transfer import export_memory, import_memory
from hmralign.structures import InputError
from support.memory_builder import RULES, episode, fill


@pytest.fixture
def memory(tmp_path):
    with Memory.open(tmp_path / "memory.sqlite") as opened:
        ids = fill(opened)
        opened.retire({ids[2]: "worse"}, "now")
        yield opened


def test_export_and_import_keep_the_content(tmp_path, memory):
    assert export_memory(memory, tmp_path / "out") == memory.content_hash()
    assert import_memory(tmp_path / "out", tmp_path / "back") == memory.content_hash()
    with Memory.open(tmp_path / "back") as back:
        assert diff(memory, back) == "" and back.rules() == memory.rules() and back.space == memory.space
        assert back.prototypes(back.prototype_index().ids) == memory.prototypes(memory.prototype_index().ids)
        assert back.commit(episode("d"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["back", "memory.sqlite", "memory.sqlite-shm",
                                                          "memory.sqlite-wal", "out"]  # fmt: skip


def test_without_pictures_the_hash_says_so(tmp_path, memory):
    content = export_memory(memory, tmp_path / "out", images=False)
    assert content == memory.content_hash(images=False) != memory.content_hash()
    assert not (tmp_path / "out" / "tiles").exists()
    assert import_memory(tmp_path / "out", tmp_path / "back") == content
    with Memory.open(tmp_path / "back") as back:
        assert {p.photo for p in back.prototypes(back.prototype_index().ids)} == {None}
        assert (back.prototype_index().embeddings == memory.prototype_index().embeddings).all()


def test_a_frozen_memory_is_exported_as_a_live_one(tmp_path, memory):
    memory.freeze(tmp_path / "frozen")
    with Memory.open(tmp_path / "frozen") as frozen:
        assert export_memory(frozen, tmp_path / "out") == memory.content_hash()
    import_memory(tmp_path / "out", tmp_path / "back")
    with Memory.open(tmp_path / "back") as back:
        assert not back.frozen and back.commit(episode("d"))


def test_an_empty_memory_goes_through(tmp_path):
    with Memory.open(tmp_path / "m") as memory:
        export_memory(memory, tmp_path / "out")
        assert import_memory(tmp_path / "out", tmp_path / "back") == memory.content_hash()


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def damage(folder, what):
    tile = next((folder / "tiles").iterdir())
    if what == "no facts":
        (folder / "memory.json").unlink()
    elif what == "newer":
        change(folder / "memory.json", '"format_version": 1', '"format_version": 2')
    elif what == "another score":
        change(folder / "prototype.jsonl", '"score": 90.0', '"score": 91.0')
    elif what == "wild score":
        change(folder / "prototype.jsonl", '"score": 90.0', '"score": 9000')
    elif what == "another rule":
        change(folder / "rule.jsonl", RULES[0].text, "If it rains, add 9 points")
    elif what == "wrong type":
        change(folder / "episode.jsonl", '"rho": 0.9', '"rho": "high"')
    elif what == "a column less":
        change(folder / "episode.jsonl", '"rho": 0.9, ', "")
    elif what == "no JSON":
        (folder / "rule.jsonl").write_text("{")
    elif what == "a picture changed":
        tile.write_bytes(b"other")
    elif what == "a picture less":
        tile.unlink()
    elif what == "vectors":
        (folder / "embeddings.safetensors").write_bytes(b"x" * 100)
    elif what == "an unknown rule":
        lines = (folder / "rule.jsonl").read_text().splitlines()
        (folder / "rule.jsonl").write_text("\n".join(lines[1:]))
    else:
        (folder / "rule_use.jsonl").unlink()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no facts", "no readable memory.json"),
        ("newer", "version 2"),
        ("another score", "has been changed"),
        ("wild score", "score is 9000"),
        ("another rule", "id is not that of the rule"),
        ("wrong type", "'rho' is 'high'"),
        ("a column less", "expected an object with"),
        ("no JSON", "damaged"),
        ("a picture changed", "not the picture that its name says"),
        ("a picture less", "damaged"),
        ("vectors", "embeddings.safetensors is damaged"),
        ("an unknown rule", "damaged"),
        ("a table less", "cannot be read as lines of row of the table rule_use"),
    ],
)
def test_a_damaged_folder_is_refused_and_leaves_nothing(tmp_path, memory, what, message):
    export_memory(memory, tmp_path / "out")
    damage(tmp_path / "out", what)
    with pytest.raises(InputError, match=message):
        import_memory(tmp_path / "out", tmp_path / "back")
    assert not [p for p in tmp_path.iterdir() if p.name.startswith("back")]


def test_nothing_is_replaced(tmp_path, memory):
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="exists already"):
        export_memory(memory, tmp_path / "out")
    export_memory(memory, tmp_path / "second")
    with pytest.raises(InputError, match="exists already"):
        import_memory(tmp_path / "second", memory.path)


def test_lines_are_plain_json(tmp_path, memory):
    export_memory(memory, tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out" / "rule.jsonl").read_text().splitlines()]
    assert {row["text"] for row in rows} == {rule.text for rule in RULES}
    assert all(isinstance(row["tags"], list) for row in rows)
