"""Archives that lie about themselves: whatever they say, reading costs little and ends in arrays or in one sentence."""

import io
import os
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmralign.body import npz_file
from hmralign.body.npz_file import npz_sizes, read_npz, write_npz
from hmralign.structures import InputError
from support.budget import within_budget

SHAPES = st.lists(st.integers(0, 3), max_size=3).map(tuple)
TYPES = st.sampled_from(["f4", "f8", "f2", "i1", "u8", "?", "c8", "U3", "S2", "U0", ">i4"])


@st.composite
def archives(draw):
    names = draw(st.lists(st.text("abc._", min_size=1, max_size=4), min_size=1, max_size=4, unique=True))
    return {name: np.zeros(draw(SHAPES), draw(TYPES)) for name in names if not name.endswith(".npy")}


@given(arrays=archives(), compressed=st.booleans())
def test_what_numpy_writes_comes_back(tmp_path_factory, arrays, compressed):
    path = write_npz(tmp_path_factory.mktemp("npz") / "a.npz", arrays, compressed=compressed)
    found = read_npz(path)
    assert found.keys() == arrays.keys() == npz_sizes(path).keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and np.array_equal(found[name], array)


def test_objects_are_never_written(tmp_path):
    with pytest.raises(ValueError, match="objects"):
        write_npz(tmp_path / "a.npz", {"a": np.array({"b": 1})})
    assert not list(tmp_path.iterdir())


@settings(max_examples=150)
@given(st.data())
def test_damage_ends_in_the_arrays_or_in_one_sentence(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    write_npz(path, {"a": np.arange(50.0), "bc": np.array(["x", "yz"])}, compressed=data.draw(st.booleans()))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content) - 1))
        end = min(start + data.draw(st.integers(0, 8)), len(content))
        content[start:end] = data.draw(st.binary(max_size=8))
    path.write_bytes(content)
    try:
        read_npz(path)
    except InputError as error:
        assert str(path) in str(error) and "\n" not in str(error) and len(str(error)) < 1000


def archive(path, entries, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in entries:
            file.writestr(name, content)
    return path


def array_bytes(array, shape=None, descr=None):
    """The bytes of an array, with a header that may say another shape or type."""
    file = io.BytesIO()
    header = {
        "descr": descr or array.dtype.str,
        "fortran_order": False,
        "shape": array.shape if shape is None else shape,
    }
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + array.tobytes()


def refusal(path):
    def sentence():
        with pytest.raises(InputError) as error:
            read_npz(path)
        return str(error.value)

    said = within_budget(sentence, megabytes=150)
    assert str(path) in said and "\n" not in said and len(said) < 1000
    return said


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", [("a.npy", "a.npy"), ("a", "a.npy"), ("a.npy", "a")])
def test_two_arrays_of_one_name_are_refused(tmp_path, names):
    """Else the size of one is checked and the other is read."""
    contents = [array_bytes(np.zeros(n)) for n in (1, 100)]
    for some in (contents, contents[::-1]):
        path = archive(tmp_path / "a.npz", zip(names, some, strict=True))
        assert "two arrays 'a'" in refusal(path)
        with pytest.raises(InputError, match="two arrays"):
            npz_sizes(path)


@pytest.mark.parametrize("descr", ["<f8", "|u1", "<U0", "|S0", "|V0", "<U1000000", "<M8[s]"])
@pytest.mark.parametrize("shape", [(10**12,), (10**6, 10**6, 0), (2**62, 4), (-5,), (10**30,), (1,) * 40, (3,)])
def test_headers_that_promise_other_values_than_there_are(tmp_path, descr, shape):
    refusal(archive(tmp_path / "a.npz", [("a.npy", array_bytes(np.zeros(2), shape, descr))]))


@pytest.mark.parametrize("descr", [[("x", "<f8")], [("x" * 5000, "<f8")], "|O", [("x", "|O")]])
def test_types_that_are_no_numbers(tmp_path, descr):
    refusal(archive(tmp_path / "a.npz", [("a.npy", array_bytes(np.zeros(2), (2,), descr))]))


def test_bombs(tmp_path, monkeypatch):
    """What unpacks to too much is refused by its size; what Python would unpack without a limit, by its way."""
    small = array_bytes(np.zeros(10**7, "u1"))
    path = archive(tmp_path / "bytes.npz", [("a.npy", small), ("b.npy", small)])
    for limit in ("MAX_VALUES", "MAX_UNPACKED_BYTES"):
        with monkeypatch.context() as patched:
            patched.setattr(npz_file, limit, 15_000_000)
            assert "15000000" in refusal(path)
    for way in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        assert "unusual way" in refusal(archive(tmp_path / "other.npz", [("a.npy", small)], way))


def test_a_size_that_is_not_that_of_the_content(tmp_path):
    path = archive(tmp_path / "a.npz", [("a.npy", array_bytes(np.zeros(10**6)))])
    content = path.read_bytes()
    true = struct.pack("<I", len(array_bytes(np.zeros(10**6))))
    for size in (0, 200, 10**9, 2**32 - 1):
        path.write_bytes(content.replace(true, struct.pack("<I", size)))
        refusal(path)


@pytest.mark.parametrize("length", [10, 60_000])
def test_a_long_table_of_contents_is_not_read(tmp_path, monkeypatch, length):
    monkeypatch.setattr(npz_file, "MAX_DIRECTORY_BYTES", 2**17)
    count = 3 * 2**17 // (46 + length)
    path = archive(tmp_path / "a.npz", ((f"{n:0{length}d}", b"") for n in range(count)), zipfile.ZIP_STORED)
    assert "table of contents" in refusal(path)


def test_pipes_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.npz")
    assert "pipe" in refusal(tmp_path / "a.npz")
