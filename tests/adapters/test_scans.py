import json
import pickle

import numpy as np
import pytest

from hmralign.adapters.scans import find_scans, read_scan_body
from hmralign.structures import InputError

GOOD = {
    "global_orient": np.zeros((1, 3)), "body_pose": 0.1 * np.ones((1, 21, 3)), "betas": np.ones((1, 10)),
    "transl": np.array([[0.1, 0.2, 0.3]]), "scale": np.array([1.1]), "left_hand_pose": np.zeros((1, 12)),
}  # fmt: skip


def scan(folder, name, layout="thuman21"):
    place = folder / ("model" if layout == "thuman21" else "mesh") / name
    place.mkdir(parents=True)
    (place / (f"{name}.obj" if layout == "thuman21" else "mesh-f00011.obj")).write_text("v 0 0 0\n")
    (folder / "smplx" / name).mkdir(parents=True)
    return folder / "smplx" / name


def test_scans_of_thuman21(tmp_path):
    (scan(tmp_path, "0002") / "smplx_param.pkl").write_bytes(pickle.dumps(GOOD))
    scan(tmp_path, "0001")
    (tmp_path / "model/0003").mkdir()  # nothing in it
    first, second = find_scans(tmp_path, "thuman21")
    assert (first.name, first.parameters, second.name) == ("0001", None, "0002")
    assert second.parameters is not None
    body = read_scan_body(second.parameters)
    assert body.scale == pytest.approx(1.1) and body.transl.tolist() == [0.1, 0.2, 0.3]
    assert body.rotmats.shape == (24, 3, 3) and float(body.rotmats[23].trace()) == 3.0
    assert float(body.rotmats[21].trace()) < 2.99


def test_scans_of_customhumans_in_json(tmp_path):
    plain = {key: value.tolist() for key, value in GOOD.items() if key != "scale"}
    place = scan(tmp_path, "000-0102", "customhumans") / "mesh-f00011_smplx.json"
    place.write_text(json.dumps(plain))
    (found,) = find_scans(tmp_path, "customhumans")
    assert found.mesh.name == "mesh-f00011.obj" and found.parameters == place
    assert read_scan_body(place).scale == 1.0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"body_pose": np.zeros((1, 69))}, "'body_pose' has 69 numbers, expected 63"),
        ({"betas": np.full((1, 10), np.nan)}, "'betas'"),
        ({"betas": np.zeros(3)}, "at least 10"),
        ({"global_orient": np.full((1, 3), 90.0)}, "radians, not degrees"),
        ({"scale": np.array([0.0])}, "positive"),
        ({"transl": None}, "lacks 'translation'"),
        ({"body_pose": "x"}, "no array of numbers"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(tmp_path, change, said):
    path = tmp_path / "p.pkl"
    path.write_bytes(pickle.dumps({k: v for k, v in {**GOOD, **change}.items() if v is not None}))
    with pytest.raises(InputError, match=said) as caught:
        read_scan_body(path)
    assert "p.pkl" in str(caught.value)


def test_a_pickle_that_would_run_something_is_refused(tmp_path):
    class Runs:
        def __reduce__(self):
            return (print, ("ran",))

    (tmp_path / "p.pkl").write_bytes(pickle.dumps({"betas": Runs()}))
    with pytest.raises(InputError):
        read_scan_body(tmp_path / "p.pkl")


def test_another_layout_is_refused(tmp_path):
    with pytest.raises(InputError, match="no folder of thuman21"):
        find_scans(tmp_path, "thuman21")
    (tmp_path / "mesh").mkdir()
    with pytest.raises(InputError, match="has no scan"):
        find_scans(tmp_path, "customhumans")
