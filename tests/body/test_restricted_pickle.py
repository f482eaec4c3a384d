"""Pickles are read as data: known ones give their arrays, all others are refused without running anything."""

import collections
import os
import pickle
import pickletools
import zipfile

import numpy as np
import pytest
import scipy.sparse

from hmralign.body import restricted_pickle
from hmralign.body.restricted_pickle import pickled_array, read_data_pickle, read_pickle
from hmralign.structures import InputError
from support.body_files import fake_chumpy, python2_pickle


def write(folder, raw: bytes):
    path = folder / "body.pkl"
    path.write_bytes(raw)
    return path


ARRAYS = {
    "double": np.arange(24.0).reshape(2, 3, 4),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    "big_endian": np.arange(5, dtype=">f8"),
    "unsigned": np.array([[2**32 - 1, 1]], np.uint32),
    "empty": np.zeros((0, 3)),
    "scalar": np.float64(2.5),
    "every_byte": np.arange(256, dtype=np.uint8),
}


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_of_every_protocol(tmp_path, protocol):
    content = {
        **ARRAYS,
        "again": ARRAYS["double"],
        "csc": scipy.sparse.csc_matrix([[0, 1.5, 0], [2, 0, 0]]),
        "csr": scipy.sparse.csr_matrix([[0, 1.5, 0], [2, 0, 0]]),
        "words": collections.OrderedDict(a=[1, (2, None)], b={3, 4}, c=frozenset("x"), d=b""),
    }
    found = read_pickle(write(tmp_path, pickle.dumps(content, protocol)))
    for name, expected in ARRAYS.items():
        array = pickled_array(found[name])
        assert array.dtype == np.asarray(expected).dtype and np.array_equal(array, expected), name
    for name in ("csc", "csr"):
        assert np.array_equal(pickled_array(found[name]), content[name].toarray())
    assert found["words"] == content["words"] and found["again"] is found["double"]


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_arrays_and_chumpy_of_python_2(tmp_path, protocol):
    with fake_chumpy() as (Ch, Select):
        inner = Ch(x=ARRAYS["double"], _dirty_vars=set(), _itr=None)
        chosen = Select(a=inner, idxs=np.array([5, 1, 1, 23]), preferred_shape=(2, 2))
        raw = python2_pickle({**ARRAYS, "ch": inner, "select": chosen, "bs_style": "lbs"}, protocol)
    assert b"chumpy.ch" in raw and b"numpy.core.multiarray" in raw and b"_codecs" not in raw
    found = read_pickle(write(tmp_path, raw))
    assert found["bs_style"] == "lbs"
    assert np.array_equal(pickled_array(found["ch"]), ARRAYS["double"])
    assert pickled_array(found["select"]).tolist() == [[5, 1], [1, 23]]
    for name in ("double", "fortran", "big_endian", "unsigned", "every_byte"):
        assert np.array_equal(pickled_array(found[name]), ARRAYS[name]), name


class Runs:
    """What is pickled is a call."""

    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_runs_a_command_is_refused_and_nothing_runs(tmp_path, protocol):
    trace = tmp_path / "trace"
    path = write(tmp_path, pickle.dumps({"v_template": Runs(os.system, f"touch {trace}")}, protocol))
    with pytest.raises(InputError, match=r"body.pkl was refused: it wants to use 'posix.system'"):
        read_pickle(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (eval, "eval"), (getattr, "getattr"), (bytearray, "bytearray"), (np.load, "load"),
        (np.frombuffer, "frombuffer"), (scipy.sparse.coo_matrix, "coo_matrix"), (np.matrix, "matrix"),
    ],
)  # fmt: skip
def test_globals_that_no_body_needs_are_refused(tmp_path, call, name):
    with pytest.raises(InputError, match=f"wants to use '.*{name}'"):
        read_pickle(write(tmp_path, pickle.dumps({"a": Runs(call, b"x")})))


def test_a_dotted_name_does_not_reach_into_what_is_allowed(tmp_path):
    raw = b"\x80\x04\x8c\x05numpy\x8c\x14ndarray.__subclasses\x93."
    pickletools.dis(raw, out=open(os.devnull, "w"))
    with pytest.raises(InputError, match="wants to use"):
        read_pickle(write(tmp_path, raw))


@pytest.mark.parametrize(
    "raw",
    [
        b"cnumpy\nndarray\n}(S'state'\nI1\nub.",  # state for a class instead of an instance
        b"c_codecs\nencode\n}(S'_call'\nI1\nub.",  # state for a function
        b"c__builtin__\ndict\n}(S'a'\nI1\nub.",
        b"ccopy_reg\n_reconstructor\n(c__builtin__\ndict\nc__builtin__\nobject\nNtR.",
        b"cnumpy.core.multiarray\n_reconstruct\n(c__builtin__\nlist\n(I0\ntS'b'\ntR.",
        b"c_codecs\nencode\n(Vx\nS'rot13'\ntR.",
        b"c__builtin__\nbytes\n(I99999999999\ntR.",
        b"\x80\x04cos\nsystem\n",
        b"", b"no pickle", b"\x80\x04", b"\x80\x05\x97.", b"r\xff\xff\xff\xff.", pickle.dumps([1, 2]),
    ],
)  # fmt: skip
def test_malformed_pickles_are_refused(tmp_path, raw):
    with pytest.raises(InputError, match=r"body\.pkl"):
        read_pickle(write(tmp_path, raw))
    assert restricted_pickle.PickledArray.state == () and restricted_pickle._encoded("a", "latin1") == b"a"


@pytest.mark.parametrize("length", [0, 1, 5, -40, -1])
def test_a_pickle_that_was_cut_off_says_so(tmp_path, length):
    path = write(tmp_path, pickle.dumps({"a": np.zeros(3)}, protocol=2)[:length])
    for read in (read_pickle, lambda p: read_data_pickle(p, "a sequence", max_bytes=1 << 20, max_opcodes=1000)):
        with pytest.raises(InputError, match="it is cut off, or empty") as caught:
            read(path)
        assert "EOFError" not in str(caught.value) and str(path) in str(caught.value)


def test_sizes_that_a_pickle_claims_reserve_no_memory(tmp_path):
    assert read_pickle(write(tmp_path, b"\x80\x02}r\xff\xff\xff\xff.")) == {}  # memo number 4 billion
    for claim in (b"\x96", b"\x8e", b"\x8d"):  # a bytearray, bytes and a string of 2^46 bytes
        with pytest.raises(InputError, match="Cannot read"):
            read_pickle(write(tmp_path, b"\x80\x05}" + claim + (1 << 46).to_bytes(8, "little") + b"x"))


def _state(shape=(2,), code="f8", order="<", fortran=False, raw=b"\0" * 16):
    dtype = restricted_pickle._Dtype(code, 0, 1)
    dtype.order = order
    return restricted_pickle._filled_array(shape, dtype, fortran, raw)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shape": (3,)}, "16 bytes, expected 24"),
        ({"shape": (10**6, 10**6)}, "at most"),
        ({"shape": (-1, -2)}, "no tuple of lengths"),
        ({"shape": [2]}, "no tuple of lengths"),
        ({"code": "O8"}, "no plain numbers"),
        ({"code": "V16"}, "no plain numbers"),
        ({"order": "?"}, "no plain numbers"),
        ({"raw": [1, 2]}, "no bytes"),
    ],
)
def test_malformed_arrays_are_refused(change, said):
    assert pickled_array(_state()).tolist() == [0, 0]
    with pytest.raises(ValueError, match=said):
        pickled_array(_state(**change))


@pytest.mark.parametrize(
    "change",
    [
        {"indices": np.array([0, 7])}, {"indices": np.array([0, -1])}, {"indptr": np.array([0, 1, 9])},
        {"indptr": np.array([0, 2, 1])}, {"indptr": np.array([0, 2])}, {"data": np.ones(3)},
        {"indices": np.array([0.0, 1.0])},
    ],
)  # fmt: skip
def test_a_sparse_matrix_that_points_outside_is_refused(tmp_path, change):
    matrix = scipy.sparse.csc_matrix(np.eye(2))
    for name, value in change.items():
        setattr(matrix, name, value)
    found = read_pickle(write(tmp_path, pickle.dumps({"m": matrix})))
    with pytest.raises(ValueError, match="no sparse matrix"):
        pickled_array(found["m"])


def test_values_that_are_no_arrays_say_so(tmp_path):
    found = read_pickle(write(tmp_path, pickle.dumps({"text": "lbs", "objects": np.array([{}], dtype=object)})))
    with pytest.raises(ValueError, match="is a str"):
        pickled_array(found["text"])
    with pytest.raises(ValueError, match="no plain numbers"):
        pickled_array(found["objects"])


def test_a_huge_file_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(restricted_pickle, "MAX_PICKLE_BYTES", 10)
    with pytest.raises(InputError, match="at most 10"):
        read_pickle(write(tmp_path, pickle.dumps({"a": list(range(100))})))


def test_an_archive_is_no_pickle(tmp_path):
    with zipfile.ZipFile(tmp_path / "body.pkl", "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(InputError, match="Cannot read"):
        read_pickle(tmp_path / "body.pkl")


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_damaged_bytes_end_in_an_array_or_in_one_error(tmp_path, protocol):
    content = {"a": np.arange(3.0), "m": scipy.sparse.csc_matrix(np.eye(2)), "s": {1, 2}}
    good, rng = np.frombuffer(pickle.dumps(content, protocol), np.uint8), np.random.default_rng(protocol)
    for _ in range(300):
        raw = good.copy()
        raw[rng.integers(0, len(raw), 2)] = rng.integers(0, 256, 2)
        try:
            found = read_pickle(write(tmp_path, raw.tobytes()))
        except InputError:
            continue
        for value in found.values():
            try:
                assert pickled_array(value).size < 1000
            except (ValueError, IndexError, TypeError):
                continue
