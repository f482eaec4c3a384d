"""What JSON asks for is counted before it is given; what is within the limits is what `json.loads` gives."""

import json
import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmralign.storage import json_file
from hmralign.storage.json_file import (
    REPLY,
    JsonError,
    JsonLimits,
    LineLimits,
    parse_json,
    read_json,
    read_json_lines,
    read_record,
    require_version,
)
from hmralign.structures import InputError
from support.budget import within_budget

ODD_TEXTS = st.text(st.sampled_from('[]{}",:\\ a0\N{SNOWMAN}\n'), max_size=8) | st.text(max_size=8)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ODD_TEXTS
VALUES = st.recursive(
    LEAVES, lambda v: st.lists(v, max_size=4) | st.dictionaries(ODD_TEXTS, v, max_size=4), max_leaves=30
)
LAYOUTS = st.fixed_dictionaries({"indent": st.sampled_from([None, 1]), "ensure_ascii": st.booleans()})


def depth(value):
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inside is None else 1 + max(map(depth, inside), default=0)


def number_of_values(value, empty=0):
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 1 if inside is None else 1 + sum(number_of_values(v, empty) for v in inside) + (empty if not inside else 0)


def written(value, layout):
    return json.dumps(value, **layout).encode("utf-8", "surrogatepass")


@given(VALUES, LAYOUTS)
def test_what_is_within_the_limits_comes_back(value, layout):
    text = json.dumps(value, **layout)
    assert parse_json(text) == value
    if layout["ensure_ascii"]:
        assert parse_json(text.encode()) == value


@given(VALUES, LAYOUTS, st.integers(0, 8), st.integers(1, 20), st.sampled_from([1, 2, 3, 7, 2**20]))
def test_depth_and_values_are_counted_as_they_are(value, layout, most_deep, most_values, piece):
    """Also where texts hold brackets and quotation marks, and where the content is looked at in small pieces."""
    limits = JsonLimits(2**20, most_deep, most_values)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(json_file, "_CHUNK", piece)
        try:
            parse_json(json.dumps(value, **layout), limits)
            fits = True
        except JsonError as error:
            fits = False
            assert "nested" in str(error) or "values" in str(error)
    if depth(value) > most_deep or number_of_values(value) > most_values:
        assert not fits
    if depth(value) <= most_deep and number_of_values(value, empty=1) <= most_values:
        assert fits


@given(st.binary(max_size=40) | st.tuples(VALUES, LAYOUTS, st.integers(0), st.binary(max_size=3)))
def test_any_bytes_are_a_value_or_one_sentence(content):
    if isinstance(content, tuple):
        value, layout, place, change = content
        text = written(value, layout)
        place %= len(text)
        content = text[:place] + change + text[place + len(change) :]
    try:
        value = parse_json(content, nan=True)
    except JsonError as error:
        assert str(error) and "\n" not in str(error)
        return
    assert json.dumps(value) == json.dumps(json.loads(content.decode()))


@pytest.mark.parametrize(
    "piece",
    ["[", "]", "{", '{"a":', "[{", "[]", "[],", '{"":0},', '"', '"",', '\\"', "\\", "\\u0041", "1", "9,", "-", "1e",
     "\N{GRINNING FACE}", " ", "[[[[[[]]]]]],", "NaN,"],
)  # fmt: skip
def test_no_repetition_costs_much(piece):
    def outcome(content):
        try:
            return type(parse_json(content, JsonLimits(2**24, 32, 200_000), nan=True)).__name__
        except JsonError as error:
            return str(error)

    def outcomes():
        many = piece.encode() * (4_000_000 // len(piece))
        return [outcome(s + many + e) for s in (b"", b"[", b'"', b'{"a":[') for e in (b"", b"0]", b'"')]

    assert all(len(said) < 200 for said in within_budget(outcomes, megabytes=200, seconds=10))


def test_numbers_that_are_none_for_a_computer():
    for text in ("1" * 400, "-" + "1" * 400, "0." + "3" * 301, f"[1, {'7' * 5000}]"):
        with pytest.raises(JsonError, match="more than 300 digits"):
            parse_json(text, nan=True)
    assert parse_json('["' + "1" * 400 + '"]') == ["1" * 400]
    assert parse_json("1" * 4300, REPLY) == int("1" * 4300)
    assert parse_json("[12345, -0.12345]", JsonLimits(max_digits=5)) == [12345, -0.12345]
    with pytest.raises(JsonError, match="more than 5 digits"):
        parse_json("[123456]", JsonLimits(max_digits=5))
    for text in ("1" * 4301, f"[{'[1],' * 40} {'7' * 5000}]"):
        with pytest.raises(JsonError, match="more than 4300 digits"):
            parse_json(text, REPLY)
    assert parse_json("1" * 300) == int("1" * 300) and math.isfinite(float(parse_json("-" + "9" * 300)))
    for text in ("NaN", "[Infinity]", '{"a": -Infinity}', "1e999"):
        with pytest.raises(JsonError, match="expected finite"):
            parse_json(text)
        parse_json(text, nan=True)


@given(st.lists(ODD_TEXTS, min_size=1, max_size=6, unique=True), st.data())
def test_a_key_that_is_given_twice_is_named(keys, data):
    twice = data.draw(st.sampled_from(keys))
    pairs = [f"{json.dumps(key)}: 1" for key in data.draw(st.permutations([*keys, twice]))]
    with pytest.raises(JsonError, match="is given twice"):
        parse_json(f'{{"a": [{{ {", ".join(pairs)} }}]}}')


def test_a_sentence_never_repeats_a_long_name():
    name = "x" * 1_000_000
    for text in (f'{{"{name}": 1, "{name}": 2}}', f'["{name}'):
        with pytest.raises(JsonError) as error:
            parse_json(text)
        assert len(str(error.value)) < 200


def test_files_name_themselves(tmp_path):
    path = tmp_path / "a.json"
    for content, reason in [(b"\xff", "not UTF-8"), (b"[", "line 1 column"), (b"[" * 99, "nested"), (b"", "line 1")]:
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf"a\.json: not the plan \(.*{reason}"):
            read_json(path, "the plan")
    path.write_bytes(b'"' + b"a" * 100 + b'"')
    with pytest.raises(InputError, match=r"a\.json: has more than 100 bytes"):
        read_json(path, "the plan", JsonLimits(max_bytes=100))
    for wrong in (tmp_path, tmp_path / "missing.json", path / "below"):
        with pytest.raises(InputError, match="not the plan"):
            read_json(wrong, "the plan")


def test_pipes_and_devices_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path / "link"):
        if path.name == "link":
            path.symlink_to("/dev/zero")
        with pytest.raises(InputError, match="pipe or a device"):
            within_budget(lambda path=path: read_json(path, "the plan"))
        with pytest.raises(InputError, match="pipe or a device"):
            within_budget(lambda path=path: list(read_json_lines(path, "line")))


@pytest.mark.parametrize("content", ["{}", "[]", "3", '{"format_version": 2}', '{"format_version": true}',
                                     '{"format_version": 1.0}', '{"format_version": "1"}'])  # fmt: skip
def test_another_version_is_refused_in_one_sentence(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InputError, match=r"a\.json: format version .*, this program reads 1"):
        read_record(tmp_path / "a.json", "the plan", 1)
    (tmp_path / "a.json").write_text('{"format_version": 1, "b": 2}')
    assert read_record(tmp_path / "a.json", "the plan", 1) == {"format_version": 1, "b": 2}
    require_version({"format": 3}, 3, "here", key="format")


@given(st.lists(VALUES, max_size=6), st.booleans(), st.booleans())
def test_lines_come_back_with_their_places(tmp_path_factory, values, ended, cut):
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    content = "\n".join(json.dumps(v) for v in values) + ("\n" if ended and values else "")
    path.write_text(content)
    lines = list(read_json_lines(path, "line", cut=cut))
    expected = values if ended or not cut else values[:-1]
    assert [line.value for line in lines] == expected
    assert [line.number for line in lines] == list(range(1, len(expected) + 1))
    for line in lines:
        assert content[: line.end].count("\n") == line.number - (not ended and line.number == len(values))


def test_lines_are_limited_each_and_together(tmp_path):
    path = tmp_path / "a.jsonl"
    limits = LineLimits(max_bytes=100, max_lines=5, line=JsonLimits(max_bytes=30))
    good = ["1\n" * 5, '"' + "a" * 26 + '"\n']
    bad = [("1\n" * 6, "more than 5 lines"), ((" " * 25 + "1\n") * 4, "100 bytes"), ('"' + "a" * 30 + '"\n', "line 1")]
    for content in good:
        path.write_text(content)
        assert list(read_json_lines(path, "line", limits))
    for content, reason in bad:
        path.write_text(content)
        with pytest.raises(InputError, match=rf"a\.jsonl: .*{reason}"):
            list(read_json_lines(path, "line", limits))
    path.write_text("1\n[\n")
    with pytest.raises(InputError, match=r"a\.jsonl: line 2 is no verdict \("):
        list(read_json_lines(path, "verdict"))
    path.write_bytes(b"[" * 10_000_000)
    with pytest.raises(InputError, match="line 1"):
        within_budget(lambda: list(read_json_lines(path, "line", cut=True)), megabytes=50)


def test_each_limit_is_the_one_that_is_given():
    assert parse_json(b"[[1]]", JsonLimits(max_depth=2)) == [[1]]
    with pytest.raises(JsonError, match="nested deeper than 1"):
        parse_json(b"[[1]]", JsonLimits(max_depth=1))
    assert parse_json(b"[1, 2]", JsonLimits(max_values=3)) == [1, 2]
    with pytest.raises(JsonError, match="more than 2 values"):
        parse_json(b"[1, 2]", JsonLimits(max_values=2))
