"""Large JSON is cut into the items of its top lists, wherever the pieces that are read happen to end."""

import json

import pytest

from hmralign.storage import json_stream
from hmralign.storage.json_stream import json_items
from hmralign.structures import InputError

DOCUMENT = {
    "info": {"a": [1, 2, {"x": "]}"}], "b": 'q\\"]'},
    "images": [{"id": i, "file": "\\" * (i % 4) + '"[{ ü'} for i in range(30)],
    "n": 3,
    "annotations": [{"id": i, "p": [[1, 2], [3.5, {"z": []}]]} for i in range(40)],
    "empty": [],
    "numbers": [1, 2, 3],
}


@pytest.fixture()
def path(tmp_path):
    return tmp_path / "a.json"


@pytest.mark.parametrize("piece", [1, 7, 64, 1000, 2**22])
@pytest.mark.parametrize("indent", [None, 1])
def test_items_do_not_depend_on_the_pieces(piece, indent, path, monkeypatch):
    monkeypatch.setattr(json_stream, "_CHUNK", piece)
    path.write_text(json.dumps(DOCUMENT, indent=indent, ensure_ascii=False), encoding="utf-8")
    for key in ("images", "annotations"):
        found = list(json_items(path, "it", [key]))
        assert [item.value for item in found] == DOCUMENT[key]
        assert [item.number for item in found] == list(range(len(found))) and {item.key for item in found} == {key}
    both = [item.value for item in json_items(path, "it", ("images", "annotations"))]
    assert both == DOCUMENT["images"] + DOCUMENT["annotations"]


def test_a_file_may_be_one_list(path):
    path.write_text('\ufeff [{"a": 1}, [2, {}]] ', encoding="utf-8")
    assert [(item.key, item.value) for item in json_items(path, "it")] == [("", {"a": 1}), ("", [2, {}])]
    path.write_text("[]")
    assert list(json_items(path, "it")) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": [{"x": 1}, {"x"', "cut off"),
        ("[1, 2", "cut off"),
        ('{"a": [{"x": "', "cut off"),
        ("{}}", "not opened"),
        ("5", "begins with neither"),
        ("", "cut off"),
        ('{"a": [{"x": NaN}]}', "item 0 of 'a' is no JSON"),
        ('{"a": [{"x": 1,}]}', "item 0 of 'a' is no JSON"),
        ('{"a": [7, {}]}', "item 0 of 'a' is 7, expected an object"),
        ('{"a": [{}, "x"]}', "item 1 of 'a' is \"x\", expected an object"),
    ],
)
def test_what_is_wrong_is_named(text, said, path):
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        list(json_items(path, "it"))


def test_an_item_that_is_too_large_is_refused_before_it_is_whole(path, monkeypatch):
    monkeypatch.setattr(json_stream, "MAX_ITEM_BYTES", 1000)
    monkeypatch.setattr(json_stream, "_CHUNK", 500)
    path.write_text(json.dumps({"a": [{"x": "y" * 5000}]}))
    with pytest.raises(InputError, match="item 0 of 'a' has more than"):
        list(json_items(path, "it"))


def test_memory_is_that_of_an_item_and_not_of_the_file(path):
    import tracemalloc

    record = {"p": [[0.123456789] * 3] * 200}
    path.write_text(json.dumps({"annotations": [record] * 3000}))
    assert path.stat().st_size > 20_000_000
    tracemalloc.start()
    assert sum(1 for _ in json_items(path, "it", ["annotations"])) == 3000
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 4 * (json_stream._CHUNK + json_stream.MAX_ITEM_BYTES)


def test_a_key_that_is_given_twice_is_refused_in_an_item_and_at_the_top(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"annotations": [{"a": 1}, {"a": {"b": 2, "b": 3}}]}')
    with pytest.raises(InputError, match=r"item 1 of 'annotations' is no JSON .*twice"):
        list(json_items(path, "annotations"))
    path.write_text('{"annotations": [{"a": 1}], "images": [], "annotations": [{"a": 2}]}')
    with pytest.raises(InputError, match="the key 'annotations' is given twice"):
        list(json_items(path, "annotations"))


def test_texts_that_look_like_keys_are_no_keys(tmp_path):
    path = tmp_path / "a.json"
    items = [{"a": 'he said "a": no', "b": [[{"c": 1}], []]}, {"a": [1, 2]}]
    path.write_text(json.dumps({"annotations": items}).replace('"b":', '"b" :'))
    assert [item.value for item in json_items(path, "annotations")] == items


def test_what_follows_the_last_list_is_left_alone_where_that_is_asked(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"images": [{"id": 1}]})[:-1] + ', "annotations": [' + " " * 2**22 + "broken")
    found = json_items(path, "annotations", ("images",), to_the_end=False)
    assert [item.value for item in found] == [{"id": 1}]
    with pytest.raises(InputError, match="cut off"):
        list(json_items(path, "annotations", ("images",)))
