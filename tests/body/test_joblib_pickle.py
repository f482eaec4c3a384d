"""Files of joblib are read as data: arrays in the stream come back, code does not run, cut files are told."""

import base64
import pickle
from pathlib import Path

import numpy as np
import pytest

from hmralign.body.joblib_pickle import read_joblib
from hmralign.body.restricted_pickle import pickled_array
from hmralign.structures import InputError
from support.joblib_writer import dump, joblib_bytes

CONTENT = {
    "a": [np.arange(6, dtype=np.float32).reshape(2, 3), {"f": np.asfortranarray(np.arange(6.0).reshape(3, 2))}],
    "none": np.zeros((0, 3)), "number": np.float64(0.5), "text": "walk",
}  # fmt: skip

RECORDED = (
    "gASV2AAAAAAAAAB9lCiMAXiUjBNqb2JsaWIubnVtcHlfcGlja2xllIwRTnVtcHlBcnJheVdyYXBwZXKUk5QpgZR9lCiMCHN1YmNs"
    "YXNzlIwFbnVtcHmUjAduZGFycmF5lJOUjAVzaGFwZZRLA4WUjAVvcmRlcpSMAUOUjAVkdHlwZZRoCIwFZHR5cGWUk5SMAmY4lImI"
    "h5RSlChLA4wBPJROTk5K/////0r/////SwB0lGKMCmFsbG93X21tYXCUiIwbbnVtcHlfYXJyYXlfYWxpZ25tZW50X2J5dGVzlEsQ"
    "dWIM////////////////AAAAAAAAAAAAAAAAAADwPwAAAAAAAABAlQwAAAAAAAAAjAF5lIwDZW5klHUu"
)
"""`joblib.dump({"x": numpy.arange(3.0), "y": "end"}, path)` of joblib 1.6.0 and numpy 2."""


def read(path: Path, **limits) -> object:
    return read_joblib(path, "tracks", **{"max_bytes": 10**6, "max_opcodes": 10**5} | limits)


def test_a_file_that_joblib_itself_wrote(tmp_path):
    (tmp_path / "x.pkl").write_bytes(base64.b64decode(RECORDED))
    found = read(tmp_path / "x.pkl")
    assert isinstance(found, dict) and found["y"] == "end"
    assert pickled_array(found["x"]).tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("alignment", [None, 16])
@pytest.mark.parametrize("compress", [False, True])
def test_arrays_in_the_stream_come_back(protocol, alignment, compress, tmp_path):
    found = read(dump(CONTENT, tmp_path / "x.pkl", protocol=protocol, alignment=alignment, compress=compress))
    assert isinstance(found, dict) and found["text"] == "walk"
    assert np.array_equal(pickled_array(found["a"][0]), CONTENT["a"][0])
    assert np.array_equal(pickled_array(found["a"][1]["f"]), CONTENT["a"][1]["f"])
    assert pickled_array(found["none"]).shape == (0, 3) and float(pickled_array(found["number"])) == 0.5


def test_a_plain_pickle_is_a_file_without_wrappers(tmp_path):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"x": np.ones(2)}))
    found = read(tmp_path / "x.pkl")
    assert isinstance(found, dict) and pickled_array(found["x"]).tolist() == [1.0, 1.0]


class _Harm:
    def __reduce__(self):
        return (Path.touch, (Path("harmed"),))


def test_code_is_refused_and_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="wants to use"):
        read(dump({"x": np.ones(3), "y": _Harm()}, tmp_path / "x.pkl"))
    with pytest.raises(InputError, match=r"no plain numbers|wants to use"):
        read(dump({"x": np.array([_Harm()], dtype=object)}, tmp_path / "x.pkl"))
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99])
@pytest.mark.parametrize("compress", [False, True])
def test_a_file_that_is_cut_off_is_told(share, compress, tmp_path):
    path = dump(CONTENT, tmp_path / "x.pkl", compress=compress)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"x\.pkl"):
        read(path)


def test_numbers_that_are_promised_and_not_there_are_not_reserved(tmp_path):
    raw = joblib_bytes({"x": np.arange(4.0)}, protocol=2, alignment=None)
    assert raw.count(b"K\x04") == 1
    (tmp_path / "x.pkl").write_bytes(raw.replace(b"K\x04", b"J\xff\xff\xff\x7f"))
    with pytest.raises(InputError, match=r"expected at most|cut off"):
        read(tmp_path / "x.pkl")


def test_what_unpacks_beyond_the_limit_or_is_packed_otherwise_is_refused(tmp_path):
    path = dump({"x": np.zeros(10**6)}, tmp_path / "x.pkl", compress=True)
    assert path.stat().st_size < 40_000
    with pytest.raises(InputError, match="unpacks to more than"):
        read(path)
    (tmp_path / "x.pkl").write_bytes(b"BZh91AY")
    with pytest.raises(InputError, match="packed by bzip2"):
        read(tmp_path / "x.pkl")
    (tmp_path / "x.pkl").write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="not tracks"):
        read(tmp_path / "x.pkl")
