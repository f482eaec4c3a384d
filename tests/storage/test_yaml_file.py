"""YAML of anybody's making is read within bounds of time and memory, or refused in one sentence."""

import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hmralign.storage.yaml_file import CONFIGURATION, YamlError, YamlLimits, parse_yaml, read_yaml
from hmralign.structures import InputError
from support.limits import most_memory

SECONDS, MEMORY = 5, 200 * 2**20
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def refusal(content: bytes, limits: YamlLimits = CONFIGURATION) -> str:
    """Why it is refused, without much time or memory."""
    begun = time.process_time()
    with most_memory(MEMORY), pytest.raises(YamlError) as error:
        parse_yaml(content, limits)
    assert time.process_time() - begun < SECONDS
    assert len(str(error.value)) < 300 and "\n" not in str(error.value)
    return str(error.value)


@settings(deadline=None, max_examples=12)
@given(VALUES)
def test_what_is_written_is_read(value):
    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data):
            return True

    assert parse_yaml(yaml.dump(value, Dumper=Plain, allow_unicode=True).encode()) == value


@settings(deadline=None, max_examples=12)
@given(st.integers(1, 9), st.integers(2, 9), st.sampled_from(["a: &x {0}\nb: *x\n", "- &x [{0}]\n- *x\n"]))
def test_aliases_are_refused_however_few_they_are(levels, width, form):
    assert "is an alias" in refusal(form.format("1").encode())
    lines = ["a0: &a0 [lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels + 1)]
    assert "line 2: '*a0' is an alias" in refusal("\n".join(lines).encode())


@settings(deadline=None, max_examples=12)
@given(st.integers(33, 200_000), st.sampled_from(["[", "{a: ", "- ", "? "]))
def test_depth_is_refused_before_it_is_built(depth, opening):
    assert "nested deeper than 32" in refusal((opening * depth).encode()[: CONFIGURATION.max_bytes])


@settings(deadline=None, max_examples=12)
@given(st.integers(5_001, 60_000), st.sampled_from(["k{0}: 1\n", "- {0}\n", "k{0}: {{a: 1}}\n"]))
def test_numbers_of_values_are_refused(count, form):
    content = "".join(form.format(n) for n in range(2 * count)).encode()[: CONFIGURATION.max_bytes]
    assert "more than 10000 values" in refusal(content.rsplit(b"\n", 1)[0])


def test_as_many_keys_as_are_allowed_take_no_time():
    content = "".join(f"k{n}: {n}\n" for n in range(4_999)).encode()
    begun = time.process_time()
    assert len(parse_yaml(content)) == 4_999
    assert time.process_time() - begun < SECONDS


@settings(deadline=None, max_examples=12)
@given(st.integers(1, 300), st.data())
def test_a_key_that_is_given_twice_is_named_with_its_line(count, data):
    twice = data.draw(st.integers(0, count - 1))
    lines = [f"key{n}: {n}" for n in range(count)] + [f"key{twice}: 0"]
    assert refusal("\n".join(lines).encode()) == f"line {count + 1}: key 'key{twice}' is given twice"


@settings(deadline=None, max_examples=12)
@given(st.integers(301, 200_000), st.sampled_from(["1", "0x1", "1.", "1e"]), st.booleans())
def test_numbers_are_not_computed_with_however_long(digits, start, sexagesimal):
    number = "1" + ":59" * (digits // 3) if sexagesimal else start + "1" * digits
    if start == "1e" and not sexagesimal:
        assert parse_yaml(f"a: {number}".encode()) == {"a": number}  # a word, as YAML has it
    else:
        assert "more than 300 characters" in refusal(f"a: {number}".encode())


@settings(deadline=None, max_examples=12)
@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(content):
    try:
        parse_yaml(content)
    except YamlError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("content", "says"),
    [("a: 2020-13-45", ""), ("{[a]: 2}", "unhashable"), ("a: !!python/name:os.system", "could not determine"),
     ("<<: {a: 1}", "merges"), ("a: !!binary 'ä'", ""), ("a: !!int x", "")],
)  # fmt: skip
def test_what_is_no_plain_value_is_refused(content, says):
    assert says in refusal(content.encode())


def test_size_and_what_is_no_file_are_refused_by_name(tmp_path):
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (CONFIGURATION.max_bytes + 1))
    with pytest.raises(InputError, match=r"large\.yaml: has more than 1 MB"):
        read_yaml(large, "a configuration")
    with pytest.raises(InputError, match=r"none\.yaml: not a configuration \(No such file"):
        read_yaml(tmp_path / "none.yaml", "a configuration")


def test_each_limit_is_the_one_that_is_given():
    assert parse_yaml(b"[[1]]", YamlLimits(max_depth=2)) == [[1]]
    assert "nested deeper than 1" in refusal(b"[[1]]", YamlLimits(max_depth=1))
    assert parse_yaml(b"[1, 2]", YamlLimits(max_values=3)) == [1, 2]
    assert "more than 2 values" in refusal(b"[1, 2]", YamlLimits(max_values=2))
