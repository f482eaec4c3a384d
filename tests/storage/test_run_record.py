"""Two records are the same run or the first setting that differs is named."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmralign.storage.run_record import first_difference, plain, require_own_folder, require_same_run
from hmralign.structures import InputError

values = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4) | st.lists(st.integers(0, 3), max_size=3)
records = st.recursive(
    st.dictionaries(st.text("abc", min_size=1, max_size=2), values, min_size=1, max_size=4),
    lambda inner: st.dictionaries(st.text("abc", min_size=1, max_size=2), values | inner, min_size=1, max_size=4),
    max_leaves=12,
)


def leaves(record, at=()):
    for key, value in record.items():
        yield from leaves(value, (*at, key)) if isinstance(value, dict) and value else [(*at, key)]


@given(records)
def test_a_record_is_the_same_as_itself_and_as_it_comes_back_from_a_file(record):
    assert first_difference(record, copy.deepcopy(record)) is None
    assert first_difference(plain(record), record) is None


@given(records, st.data())
def test_whatever_setting_is_changed_is_named(record, data):
    path = data.draw(st.sampled_from(list(leaves(record))))
    changed = copy.deepcopy(record)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = ["something", "else"]
    found = first_difference(record, changed)
    assert found is not None and found.name == ".".join(path) and found.wanted == ["something", "else"]
    del inner[path[-1]]
    gone = first_difference(record, changed)
    assert gone is not None and gone.name == ".".join(path)
    assert first_difference(record, changed, only_wanted=True) is None


def test_a_value_that_is_absent_is_not_null_and_long_ones_are_cut(tmp_path):
    assert first_difference({"a": None}, {}) is not None
    with pytest.raises(InputError, match=r"was made with name = \"x{70,}\.\.\., not 3; use another folder") as error:
        require_same_run(tmp_path, {"name": "x" * 500}, {"name": 3})
    assert len(str(error.value)) < len(str(tmp_path)) + 200


def test_a_folder_of_other_things_is_not_ours(tmp_path):
    require_own_folder(tmp_path / "new", "plan.json", "no run")
    (tmp_path / "a.part").touch()
    (tmp_path / ".lock").touch()
    require_own_folder(tmp_path, "plan.json", "no run", (".lock",))
    require_own_folder(tmp_path, "plan.json", "no run", lambda name: name == ".lock")
    (tmp_path / "mine.txt").touch()
    with pytest.raises(InputError, match=r"not empty \('mine.txt'\) and no run; use another folder"):
        require_own_folder(tmp_path, "plan.json", "no run", (".lock",))
    (tmp_path / "plan.json").touch()
    require_own_folder(tmp_path, "plan.json", "no run", (".lock",))
