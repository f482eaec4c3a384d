"""Files that are no snapshots, damaged ones, and ones that ask for more than tensors: refused, and never run."""

import io
import os
import pickle
import struct
import tarfile
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hmralign.models.published import snapshot
from hmralign.models.published.snapshot import StoredTensor, inspected
from hmralign.structures import InputError
from support.budget import within_budget
from support.published_snapshots import write_snapshot

BOTH = pytest.mark.parametrize("legacy", [False, True])


def saved(path, content, legacy=False):
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def refusal(path):
    def sentence():
        with pytest.raises(InputError) as error:
            inspected(path)
        return str(error.value)

    said = within_budget(sentence, megabytes=200, seconds=10)
    assert str(path) in said and "\n" not in said and len(said) < 1000
    return said


@BOTH
def test_all_that_training_code_saves_is_known_before_it_is_read(tmp_path, legacy):
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, 3, 4, 4)).sum().backward()
    optimizer.step()
    content = {
        "model": network.state_dict(), "parameters": list(network.parameters()), "optimizer": optimizer.state_dict(),
        "kinds": [torch.ones(2, dtype=kind) for kind in (torch.float64, torch.float16, torch.bfloat16, torch.int32,
                                                         torch.uint8, torch.bool)],
        "view": torch.arange(12.0).reshape(3, 4).T[1:], "nothing": torch.zeros(0, 0),
        "numbers": [1, 2.5, np.float64(3.5), np.float32(4.5), np.int64(5), True, None, "text", (1, [2])],
        "size": network[0].weight.shape,
    }  # fmt: skip
    found = inspected(saved(tmp_path / "a.pth", content, legacy))
    assert found.is_legacy == legacy
    assert found.content["model"]["0.weight"] == StoredTensor(torch.float32, (4, 3, 3, 3))
    assert found.content["model"]["1.num_batches_tracked"] == StoredTensor(torch.int64, ())
    assert found.content["view"].shape == (3, 3) and found.content["nothing"].shape == (0, 0)
    assert [t.dtype for t in found.content["kinds"]] == [t.dtype for t in content["kinds"]]
    loaded = found.loaded()
    assert torch.equal(loaded["view"], content["view"])
    assert loaded["numbers"] == content["numbers"]
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded["model"][name], tensor)


def test_a_file_of_older_programs_is_read(tmp_path):
    """NumPy 1 names its numbers otherwise."""
    path = saved(tmp_path / "a.pth", {"best": np.float64(0.25)}, legacy=True)
    path.write_bytes(path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert inspected(path).loaded()["best"] == 0.25


def test_what_is_no_file(tmp_path):
    assert "no such file" in refusal(tmp_path / "nowhere.pth")
    (tmp_path / "folder.pth").mkdir()
    assert "is a folder" in refusal(tmp_path / "folder.pth")
    os.mkfifo(tmp_path / "pipe.pth")
    assert "pipe" in refusal(tmp_path / "pipe.pth")


def test_what_is_no_snapshot(tmp_path):
    contents = {
        "empty.pth": b"", "text.pth": b"dear diary", "pickle.pth": pickle.dumps({"model": 1}),
        "legacy.pth": snapshot._LEGACY_START, "number.pth": snapshot._LEGACY_START + pickle.dumps(3),
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        refusal(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("photo.jpg", b"")
    assert "no snapshot" in refusal(tmp_path / "photos.zip")
    with tarfile.open(tmp_path / "old.pth", "w") as archive:
        info = tarfile.TarInfo(snapshot._LEGACY_START.decode("latin1"))
        info.size = 4
        archive.addfile(info, io.BytesIO(b"pick"))
    assert "is no snapshot" in refusal(tmp_path / "old.pth")
    for content in ([1, 2], {1: 2}, "text"):
        assert "no dictionary of named entries" in refusal(saved(tmp_path / "a.pth", content))


@BOTH
def test_truncated_files(tmp_path, legacy):
    write_snapshot(tmp_path / "whole.pth", "hyponet", legacy=legacy)
    whole = (tmp_path / "whole.pth").read_bytes()
    for share in (0.001, 0.1, 0.5, 0.9, 0.999):
        (tmp_path / "cut.pth").write_bytes(whole[: int(share * len(whole))])
        refusal(tmp_path / "cut.pth")
    (tmp_path / "long.pth").write_bytes(whole + bytes(8))
    if legacy:
        assert "bytes, expected" in refusal(tmp_path / "long.pth")


class Payload:
    """What runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@BOTH
@pytest.mark.parametrize("place", ["model", "best", "optimizer"])
def test_code_in_a_file_is_refused_and_never_run(tmp_path, legacy, place):
    planted = tmp_path / "planted"
    write_snapshot(tmp_path / "a.pth", "hyponet", legacy=legacy, **{place: {"weight": Payload(planted)}})
    said = refusal(tmp_path / "a.pth")
    assert "wants to use 'posix.system'" in said or "wants to use 'nt.system'" in said
    assert not planted.exists()
    pickle.loads(pickle.dumps(Payload(planted)))  # it would have
    assert planted.exists()


@BOTH
@pytest.mark.parametrize("value", [torch.nn.Linear(2, 2), np.ones(3), torch.device("cpu"), {1, 2}, range(3), 1j])
def test_anything_but_tensors_and_plain_containers_is_refused(tmp_path, value, legacy):
    assert "wants to use" in refusal(saved(tmp_path / "a.pth", {"a": value}, legacy))


# -- archives and pickles that lie -------------------------------------------------------------------------------------


def archive(path, program, entries=(), way=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", way) as file:
        file.writestr("a/data.pkl", b"\x80\x02" + program + b".")
        for name, content in entries:
            file.writestr(name, content)
    return path


def text(words):
    return b"X" + struct.pack("<I", len(words)) + words.encode()


def tensor(key="0", numel=4, offset=0, shape=(4,), stride=(1,), kind="FloatStorage"):
    """The instructions that `torch.save` writes for a tensor."""
    numbers = [b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", n) for n in many) + b"t" for many in (shape, stride)]
    place = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu")
    place += b"\x8a\x08" + struct.pack("<q", numel) + b"tQ"
    rest = b"\x89ccollections\nOrderedDict\n)R"
    program = b"ctorch._utils\n_rebuild_tensor_v2\n(" + place + b"\x8a\x08" + struct.pack("<q", offset)
    return program + b"".join(numbers) + rest + b"tR"


NUMBERS = ("a/data/0", bytes(16))
VERSION = ("a/version", b"3\n")


def test_the_tensor_of_these_tests_is_one(tmp_path):
    path = archive(tmp_path / "a.pth", b"}" + text("a") + tensor() + b"s", [NUMBERS, VERSION])
    assert inspected(path).content["a"] == StoredTensor(torch.float32, (4,))
    assert torch.equal(inspected(path).loaded()["a"], torch.zeros(4))


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape": (2**40,)}, {"numel": 2**40}, {"shape": (2**30, 2**30), "stride": (0, 1)}, {"shape": (5,)},
        {"offset": 1}, {"offset": -1}, {"shape": (-4,)}, {"stride": (2,)}, {"shape": (4,), "stride": (-1,)},
        {"shape": (1,) * 9, "stride": (1,) * 9}, {"shape": (2, 2)}, {"key": "1"}, {"key": "../0"},
        {"kind": "DoubleStorage"}, {"kind": "QInt8Storage"},
    ],
)  # fmt: skip
def test_tensors_that_claim_other_numbers_than_there_are(tmp_path, wrong):
    refusal(archive(tmp_path / "a.pth", b"}" + text("a") + tensor(**wrong) + b"s", [NUMBERS]))


def test_one_number_that_is_many_is_known_by_its_shape(tmp_path):
    """A stride of nothing makes a tensor of any size out of one number, which nothing is reserved for."""
    claimed = tensor(numel=4, shape=(2**20, 2**20), stride=(0, 0))
    path = archive(tmp_path / "a.pth", b"}" + text("a") + claimed + b"s", [NUMBERS])
    assert within_budget(lambda: inspected(path).content["a"].shape, megabytes=100) == (2**20, 2**20)


def test_keys_given_twice(tmp_path):
    for program in (
        b"}" + text("a") + b"Ns" + text("a") + b"Ns",
        b"}(" + text("a") + b"N" + text("b") + b"N" + text("a") + b"Nu",
        b"}(" + text("a") + b"Nu(" + text("a") + b"Nu",
        b"ccollections\nOrderedDict\n)R(" + text("a") + b"N" + text("a") + b"Nu",
    ):
        assert "the key 'a' is given twice" in refusal(archive(tmp_path / "a.pth", program))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_entries_given_twice_packed_or_missing(tmp_path):
    program = b"}" + text("a") + tensor() + b"s"
    assert "two entries 'a/data/0'" in refusal(archive(tmp_path / "a.pth", program, [NUMBERS, NUMBERS]))
    packed = archive(tmp_path / "a.pth", program, [NUMBERS], zipfile.ZIP_DEFLATED)
    assert "is packed or locked" in refusal(packed)
    assert "'data/0' is not there" in refusal(archive(tmp_path / "a.pth", program))
    assert "has 8 bytes, expected 16" in refusal(archive(tmp_path / "a.pth", program, [("a/data/0", bytes(8))]))
    two = [NUMBERS, ("b/data.pkl", b"\x80\x02}.")]
    assert "expected one 'data.pkl'" in refusal(archive(tmp_path / "a.pth", program, two))
    big = [NUMBERS, ("a/byteorder", b"big")]
    assert "little-endian" in refusal(archive(tmp_path / "a.pth", program, big))


def test_limits(tmp_path, monkeypatch):
    path = archive(tmp_path / "a.pth", b"}" + text("a") + tensor() + b"s", [NUMBERS])
    for limit, value, said in (
        ("MAX_FILE_BYTES", 20, "expected at most 20"), ("MAX_PICKLE_BYTES", 20, "expected at most 20"),
        ("MAX_ENTRIES", 1, "2 entries"), ("MAX_OPCODES", 10, "more than 10 instructions"),
    ):  # fmt: skip
        with monkeypatch.context() as patched:
            patched.setattr(snapshot, limit, value)
            assert said in refusal(path)


def test_a_pickle_that_asks_for_much(tmp_path):
    doubled = b")" + b"q\x01"
    for _ in range(60):
        doubled += b"h\x01h\x01\x86q\x01"
    for program in (
        b"}" + doubled + b"Ns",  # a key that is never done being hashed
        b"}" + text("a") + b"cnumpy\ndtype\n(" + text("f8") + b"\x89\x88tR(K\x03" + text("<") + b"NNN" + doubled
        + b"J\xff\xff\xff\xffK\x00tbs",
        b"}" + text("a") + b"ctorch\nSize\n" + doubled + b"\x85Rs",
    ):  # fmt: skip
        refusal(archive(tmp_path / "a.pth", program))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damage_ends_in_tensors_or_in_one_sentence(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("snapshots") / "a.pth"
    content = {"model": OrderedDict(a=torch.ones(3), b=torch.arange(4)), "best": np.float64(1), "step": 3}
    saved(path, content, data.draw(st.booleans()))
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(raw) - 1))
        raw[start : start + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    path.write_bytes(raw)
    try:
        inspected(path).loaded()
    except InputError as error:
        assert str(path) in str(error) and "\n" not in str(error) and len(str(error)) < 1000


def test_pytorch_2_4_reads_numbers_of_numpy_too_and_trusts_them_no_longer(tmp_path, monkeypatch):
    """It has no `safe_globals`, only what adds and clears trusted names."""
    monkeypatch.delattr(torch.serialization, "safe_globals")
    before = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals([OrderedDictOfMine])
    try:
        path = saved(tmp_path / "a.pth", {"best": np.float64(0.5), "weight": torch.ones(2)}, False)
        assert inspected(path).loaded()["best"] == 0.5
        trusted = torch.serialization.get_safe_globals()
        assert OrderedDictOfMine in trusted and np.dtype not in trusted
        found = inspected(path)
        path.write_bytes(b"no snapshot any longer")
        with pytest.raises(InputError, match="cannot be read"):
            found.loaded()
        assert set(torch.serialization.get_safe_globals()) == set(trusted)
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        torch.load(saved(tmp_path / "b.pth", np.float64(0.5), False), weights_only=True)


class OrderedDictOfMine(OrderedDict):
    """Something that a user has told PyTorch to trust."""
