"""Pickles of a few bytes that ask for much: they end in one sentence, with little memory and in little time."""

import pickle
import struct

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from hmralign.body import restricted_pickle
from hmralign.body.restricted_pickle import pickled_array, read_pickle
from hmralign.structures import InputError
from support.budget import within_budget


def text(words):
    raw = words.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value):
    return b"J" + struct.pack("<i", value)


def put(at):
    return b"r" + struct.pack("<I", at)


def get(at):
    return b"j" + struct.pack("<I", at)


def name(module, what):
    return f"c{module}\n{what}\n".encode()


def doubled(levels, leaf=b")"):
    """A tuple that holds itself twice, `levels` deep: hashing it takes 2 ^ levels steps."""
    program = leaf + put(9)
    for _ in range(levels):
        program += get(9) + get(9) + b"\x86" + put(9)
    return program


def outcome(path, program):
    """The sentence, or how many arrays there are; in a process that may take 100 MB and some seconds."""
    path.write_bytes(b"\x80\x02" + program + b".")

    def read():
        try:
            found = read_pickle(path)
        except InputError as error:
            assert str(path) in str(error) and len(str(error)) < 600 and "\n" not in str(error)
            return str(error)
        arrays = 0
        for value in found.values():
            try:
                arrays += pickled_array(value).size >= 0
            except (ValueError, IndexError, TypeError) as error:
                assert len(str(error)) < 600
        return arrays

    return within_budget(read, megabytes=100, seconds=10)


@pytest.fixture(autouse=True)
def fewer_instructions(monkeypatch):
    """The limit itself takes some seconds to be reached."""
    monkeypatch.setattr(restricted_pickle, "MAX_OPCODES", 30_000)


PLACES = {
    "key": lambda p: b"}" + p + b"Ns",
    "keys": lambda p: b"}(" + p + b"N" + text("a") + b"Nu",
    "dictionary": lambda p: b"(" + p + b"Nd",
    "set": lambda p: b"\x8f(" + p + b"\x90",
    "frozen set": lambda p: b"(" + p + b"\x91",
    "dict of pairs": lambda p: name("builtins", "dict") + b"](" + p + b"N\x86e\x85R",
    "ordered pairs": lambda p: name("collections", "OrderedDict") + b"](" + p + b"N\x86e\x85R",
    "set of a list": lambda p: name("builtins", "set") + b"](" + p + b"e\x85R",
    "frozenset of a list": lambda p: name("builtins", "frozenset") + b"](" + p + b"e\x85R",
    "type of an array": lambda p: b"}" + text("a") + name("numpy.core.numeric", "_frombuffer") + b"(" + text("")
    + name("numpy", "dtype") + p + b"\x85R" + b"K\x00\x85" + text("C") + b"tRs",
    "order of a type": lambda p: b"}" + text("a") + name("numpy.core.numeric", "_frombuffer") + b"(" + text("")
    + name("numpy", "dtype") + text("f8") + b"\x85R(K\x03" + p + b"NNNtb" + b"K\x00\x85" + text("C") + b"tRs",
    "shape of an array": lambda p: b"}" + text("a") + name("numpy.core.numeric", "_frombuffer") + b"(" + text("")
    + name("numpy", "dtype") + text("f8") + b"\x85R" + p + text("C") + b"tRs",
    "encoding": lambda p: name("_codecs", "encode") + b"(" + text("a") + p + b"tR",
    "module": lambda p: p + text("a") + b"\x93",
    "array kind": lambda p: name("numpy.core.multiarray", "_reconstruct") + p + b"\x85R",
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_a_tuple_that_is_never_done_being_hashed(tmp_path, place):
    assert outcome(tmp_path / "body.pkl", PLACES[place](doubled(60))) is not None
    outcome(tmp_path / "body.pkl", PLACES[place](b"(" + number(2**30) * 1000 + b"t"))
    outcome(tmp_path / "body.pkl", PLACES[place](text("name" * 2_000)))


MUCH = text("t" * 5_000) + put(1) + b"0" + b"](" + b"N" * 5_000 + b"e" + put(2) + b"0"
MUCH += b"(" + b"N" * 2_000 + b"t" + put(3) + b"0"
COPIES = {
    "encoded texts": name("_codecs", "encode") + get(1) + text("latin1") + b"\x86R",
    "lists": name("builtins", "list") + get(2) + b"\x85R",
    "tuples": name("builtins", "tuple") + get(2) + b"\x85R",
    "tuples of a text": name("builtins", "tuple") + get(1) + b"\x85R",
    "sets": name("builtins", "set") + get(2) + b"\x85R",
    "instances": b"(" + get(2) + b"i__builtin__\nlist\n",
    "objects": b"(" + name("builtins", "list") + get(2) + b"o",
    "arguments": name("numpy", "dtype") + get(3) + b"R",
    "new objects": name("numpy", "dtype") + get(3) + b"\x81",
    "states": name("numpy", "ndarray") + b")\x81" + get(3) + b"b",
    "states of dictionaries": name("collections", "OrderedDict") + b")R" + get(2) + b"b",
}


@pytest.mark.parametrize("copies", COPIES)
def test_one_long_thing_is_not_copied_again_and_again(tmp_path, copies):
    said = outcome(tmp_path / "body.pkl", b"](" + MUCH + COPIES[copies] * 3_000 + b"e")
    assert "repeats more than it holds" in said or "Error" in said


@pytest.mark.parametrize("length", [200, 5_000])
def test_long_names_are_cut(tmp_path, length):
    long = "n" * length
    programs = [b"%c%s\n" % (code, word) for code in b"gSIFL" for word in (b"1" * length, long.encode())]
    for program in (name(long, "x"), name("numpy", long), text(long) + text(long) + b"\x93", *programs):
        assert len(outcome(tmp_path / "body.pkl", program)) < 600


@pytest.mark.parametrize(
    "piece",
    [
        b"N",
        b"(",
        b"]",
        b"}",
        b")",
        b"2",
        b"K\x01",
        b"]a",
        b"\x85",
        text("a") + b"N",
        name("numpy", "ndarray") + b")\x81",
    ],
)
def test_no_instruction_is_followed_for_ever(tmp_path, piece):
    for count in (3_000, 60_000):
        outcome(tmp_path / "body.pkl", b"N" + piece * (count // len(piece)))


@pytest.mark.parametrize("around", [b"](", b"(", b"}X\x01\x00\x00\x00x"])
def test_what_is_nested_deeply_ends_as_well(tmp_path, around):
    closing = {b"](": b"e", b"(": b"t", b"}X\x01\x00\x00\x00x": b"s"}[around]
    program = b"}" + text("a") + around * 5_000 + b"N" + closing * 5_000 + b"s"
    assert outcome(tmp_path / "body.pkl", program) == 0


def test_a_sparse_array_that_is_large_when_it_is_dense(tmp_path):
    """A few bytes stand for what is mostly zero."""
    matrix = scipy.sparse.csc_matrix((np.ones(1), np.zeros(1, np.int32), np.array([0, *[1] * 300])), (10**5, 300))
    path = tmp_path / "body.pkl"
    path.write_bytes(pickle.dumps({"a": matrix}))
    with pytest.raises(ValueError, match="is sparse and has 30000000 values"):
        pickled_array(read_pickle(path)["a"])


ATOMS = st.sampled_from([
    b"N", b"\x88", b")", b"]", b"}", b"\x8f", b"(", b"0", b"2", b"1", b"K\x05", number(-1), text(""), text("f8"),
    text("latin1"),     text("long" * 5000),
    b"\x8a\x04\xff\xff\xff\x7f", b"C\x08" + bytes(8), b"\x8e" + (2**40).to_bytes(8, "little"),
    *(put(n) for n in range(3)), *(get(n) for n in range(3)), doubled(50), doubled(3, b"K\x01"),
    *(name(*key) for key in restricted_pickle._GLOBALS), name("os", "system"),
    *(bytes([code]) for code in b"eatu\x85\x86\x87sdR\x81b\x90\x91o\x93\x94"),
])  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(programs=st.lists(st.lists(ATOMS, max_size=40).map(b"".join), min_size=20, max_size=20))
def test_any_program_ends(tmp_path_factory, programs):
    path = tmp_path_factory.mktemp("pickles") / "body.pkl"

    def read_all():
        for program in programs:
            path.write_bytes(b"\x80\x02}" + text("a") + program + b"s.")
            try:
                for value in read_pickle(path).values():
                    pickled_array(value)
            except (InputError, ValueError, IndexError, TypeError) as error:
                assert len(str(error)) < 600

    within_budget(read_all, megabytes=100, seconds=10)
