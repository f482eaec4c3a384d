"""Archives of arrays: what is asked for and nothing else, and one sentence for whatever is wrong."""

import zlib

import numpy as np
import pytest

from hmralign.body import npz_file
from hmralign.body.npz_file import npz_sizes, read_npz
from hmralign.structures import InputError
from support.npz_damage import with_broken_stream


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "some.npz"
    np.savez(path, a=np.arange(1000), b=np.ones((20, 3)), c=np.array({"x": 1}, dtype=object))
    return path


def refusal(path, names):
    with pytest.raises(InputError) as error:
        read_npz(path, names)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    return str(error.value)


def test_arrays_come_back_and_others_are_not_touched(path):
    arrays = read_npz(path, ("b", "a"))
    assert list(arrays) == ["b", "a"] and np.array_equal(arrays["a"], np.arange(1000))
    assert set(npz_sizes(path)) == {"a", "b", "c"} and npz_sizes(path)["a"] >= 8000


def test_what_is_missing_is_named_and_pickles_are_refused(path):
    assert "['d']" in refusal(path, ("a", "d"))
    assert "allow_pickle" in refusal(path, ("c",))


def test_a_broken_stream(tmp_path):
    path = tmp_path / "some.npz"
    np.savez(path, a=np.arange(1000), b=np.ones(3))
    with_broken_stream(path, "a")
    with np.load(path) as file, pytest.raises(zlib.error):
        file["a"]
    assert "damaged" in refusal(path, ("a",))
    assert len(read_npz(path, ("b",))["b"]) == 3


def test_the_limit_is_of_what_is_asked_for(path, monkeypatch):
    monkeypatch.setattr(npz_file, "MAX_UNPACKED_BYTES", 5000)
    assert "unpacks to" in refusal(path, ("a", "b"))
    read_npz(path, ("b",))


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 cut off"])
def test_what_is_no_archive(tmp_path, content):
    path = tmp_path / "some.npz"
    if content is not None:
        path.write_bytes(content)
    assert "not an npz archive" in refusal(path, ("a",))
    assert "not an npz archive" in refusal(tmp_path, ("a",))
