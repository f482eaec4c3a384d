"""Pools of the published codes are read without running anything, come back as they were, and become samples."""

import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

from hmralign.models.paper.uvd import unpack_uvd
from hmralign.preferences import published_pool_files
from hmralign.preferences.published_pool import read_pool, write_pool
from hmralign.preferences.published_pool_files import is_published, read_published, write_published
from hmralign.structures import InputError
from support.budget import within_budget
from support.published_pools import group_records, pair_records, write_groups, write_pairs


def refusal(path):
    def sentence():
        with pytest.raises(InputError) as error:
            read_published(path)
        return str(error.value)

    said = within_budget(sentence, megabytes=300, seconds=10)
    assert str(path) in said and "\n" not in said and len(said) < 1000
    return said


def same(a, b):
    """Whether two pools hold the same."""
    for name, value in vars(a).items():
        other = getattr(b, name)
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, other), name
        elif isinstance(value, dict):
            assert value.keys() == other.keys() and all(np.array_equal(value[key], other[key]) for key in value), name
        else:
            assert value == other, name


# -- there and back ----------------------------------------------------------------------------------------------------


def test_pairs_come_back_as_they_were(tmp_path):
    records = pair_records(4)
    pool = read_published(write_pairs(tmp_path / "theirs.json", records)).pool
    assert pool.kind == "pairs" and len(pool) == 4 and pool.members == 2
    for number, record in enumerate(records):
        for member, who in enumerate("wl"):
            np.testing.assert_allclose(pool.joints[number, member], record[f"{who}_joints"], rtol=1e-6)
            np.testing.assert_allclose(pool.twist[number, member], record[f"{who}_twist"], rtol=1e-6)
    own = read_pool(write_pool(tmp_path / "ours.npz", pool))
    same(own, pool)
    write_published(tmp_path / "back.json", own)
    assert json.loads((tmp_path / "back.json").read_text()) == records
    assert is_published(tmp_path / "back.json") and not is_published(tmp_path / "ours.npz")


@pytest.mark.parametrize("compressed", [False, True])
def test_groups_come_back_as_they_were(tmp_path, compressed):
    records = group_records(3, members=5)
    found = read_published(write_groups(tmp_path / "theirs.npz", records, compressed=compressed))
    assert found.not_carried == ("render_smpl_dir_list",) and is_published(tmp_path / "theirs.npz")
    pool = found.pool
    assert (pool.kind, len(pool), pool.members) == ("groups", 3, 5)
    assert set(pool.measures) == {"pve", "mpjpe", "pampjpe", "score", "score_raw"}
    assert set(pool.others) == {"theta", "multi_n"} and pool.others["theta"].shape == (3, 5, 96)
    own = read_pool(write_pool(tmp_path / "ours.npz", pool))
    same(own, pool)
    write_published(tmp_path / "back.npz", own)
    with np.load(tmp_path / "back.npz", allow_pickle=True) as file:  # as the public code does
        back = list(file["grpo_pair_list"])
    for record, again in zip(records, back, strict=True):
        assert again.keys() == record.keys() - {"render_smpl_dir_list"}
        for key, value in again.items():
            if isinstance(value, str):
                assert value == record[key]
            else:
                np.testing.assert_allclose(value, np.asarray(record[key], np.float64), rtol=1e-6)


def test_twists_and_joints_may_be_in_one_row(tmp_path):
    records = group_records(2)
    pool = read_published(write_groups(tmp_path / "a.npz", records)).pool
    for record in records:
        record["pred_twist"] = record["pred_twist"].reshape(4, 46)
        record["pred_joints_uvd_29"] = record["pred_joints_uvd_29"].reshape(4, 87)
    same(read_published(write_groups(tmp_path / "b.npz", records)).pool, pool)


def test_groups_without_truth_measures_and_others(tmp_path):
    keys = ("img_path", "img_idx", "pred_joints_uvd_29", "pred_twist", "trans", "trans_inv")
    records = [{key: record[key] for key in keys} for record in group_records(2)]
    records[0]["img_idx"] = np.int64(3)
    found = read_published(write_groups(tmp_path / "a.npz", records))
    assert found.pool.truth_joints is None and not found.pool.measures and not found.pool.others
    assert found.pool.image_index.tolist() == [3, 10] and found.not_carried == ()
    same(read_pool(write_pool(tmp_path / "b.npz", found.pool)), found.pool)


# -- as samples --------------------------------------------------------------------------------------------------------


def test_samples_are_what_the_published_code_makes_of_pixels_and_millimetres(tmp_path):
    """The formula that the published code normalises with, written out."""
    pool = read_published(write_pairs(tmp_path / "a.json", pair_records(2))).pool
    x_0 = pool.samples()
    assert x_0.shape == (2, 2, 133)
    u, v, d = pool.joints.unbind(-1)
    expected = torch.stack([2 * (u * 50 / 256 - 25), 2 * (v * 50 / 256 - 25), d / 20], dim=-1)
    torch.testing.assert_close(x_0[..., :87], expected.flatten(-2), atol=1e-4, rtol=0)
    torch.testing.assert_close(x_0[..., 87:], 50 * pool.twist.flatten(-2))
    uv, depth, twist = unpack_uvd(x_0, 256)
    torch.testing.assert_close(uv, pool.joints[..., :2])
    torch.testing.assert_close(1000 * depth, d)
    torch.testing.assert_close(twist, pool.twist)


def test_samples_over_another_crop_are_where_they_were_in_the_image(tmp_path):
    pool = read_published(write_groups(tmp_path / "a.npz", group_records(2))).pool
    torch.testing.assert_close(pool.samples(pool.A_crop_image), pool.samples(), atol=1e-3, rtol=0)
    other = torch.tensor([[0.5, 0.0, 3.0], [0.0, 0.5, -7.0]]).expand(2, 2, 3)
    uv, depth, twist = unpack_uvd(pool.samples(other), 256)
    back = (uv - torch.tensor([3.0, -7.0])) / 0.5
    zoom, shift = pool.A_crop_image[:, 0, 0], pool.A_crop_image[..., 2]
    image = (pool.joints[..., :2] - shift[:, None, None]) / zoom[:, None, None, None]
    torch.testing.assert_close(back, image, atol=1e-2, rtol=1e-4)
    torch.testing.assert_close(twist, pool.twist)
    torch.testing.assert_close(1000 * depth, pool.joints[..., 2])


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r.pop("w_twist"), "record 1 lacks 'w_twist'"),
        (lambda r: r.update(l_joints=r["l_joints"][:24]), "'l_joints' of record 1 is no array of (29, 3) numbers"),
        (lambda r: r["w_twist"][3].append(1.0), "'w_twist' of record 1 is no array of (23, 2) numbers"),
        (lambda r: r.update(trans="none"), "'trans' of record 1 is no array of (2, 3) numbers"),
        (lambda r: r["l_joints"][0].__setitem__(0, 10**200), "'l_joints' of record 1"),
        (lambda r: r["l_joints"][0].__setitem__(0, 1e200), "'l_joints' of record 1 is not finite"),
        (lambda r: r.update(img_path=3), "'img_path' of record 1 is no path"),
        (lambda r: r.update(img_path="a" * 600), "'img_path' of record 1 is no path"),
        (lambda r: r.update(img_idx=1.5), "'img_idx' of record 1 is no whole number"),
        (lambda r: r.update(img_idx=True), "'img_idx' of record 1 is no whole number"),
    ],
)
def test_pairs_that_do_not_fit_are_refused_by_name(tmp_path, change, words):
    records = pair_records(3)
    change(records[1])
    assert words in refusal(write_pairs(tmp_path / "a.json", records))


def test_json_that_is_no_list_of_pairs(tmp_path):
    path = tmp_path / "a.json"
    for content in ({}, [], "text", {"pairs": pair_records(1)}):
        assert "not a list of pairs" in refusal(write_pairs(path, content))
    assert "record 0 is a int" in refusal(write_pairs(path, [3]))
    text = json.dumps(pair_records(1))
    path.write_text(text.replace('"img_idx"', '"img_path": "b", "img_idx"', 1))
    assert "'img_path' is given twice" in refusal(path)
    path.write_text(text[:-20])
    refusal(path)
    path.write_text("[" * 1000)
    assert "nested deeper" in refusal(path)
    path.write_text(text.replace('"trans": [[', '"trans": [[NaN, ', 1))
    refusal(path)
    extra = [{**record, "note": 1} for record in pair_records(1)]
    assert read_published(write_pairs(path, extra)).not_carried == ("note",)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r.pop("pred_twist"), "record 1 lacks 'pred_twist'"),
        (lambda r: r.update(pred_joints_uvd_29=r["pred_joints_uvd_29"][:3]), "has 3 members, record 0 has 4"),
        (lambda r: r.update(pred_twist=r["pred_twist"][:, :22]), "'pred_twist' of record 1 is no array"),
        (lambda r: r.update(pred_twist=r["pred_twist"] * np.nan), "'pred_twist' of record 1 is not finite"),
        (lambda r: r.update(pred_twist=r["pred_twist"].astype(object)), "'pred_twist' of record 1 is no array"),
        (lambda r: r.update(score=[1.0, 2.0]), "'score' of record 1 is no array of (4,) numbers"),
        (lambda r: r.update(score=["a"] * 4), "'score' of record 1 is no array of (4,) numbers"),
        (lambda r: r.update(img_path=b"a"), "'img_path' of record 1 is no path"),
    ],
)
def test_groups_that_do_not_fit_are_refused_by_name(tmp_path, change, words):
    records = group_records(3)
    change(records[1])
    assert words in refusal(write_groups(tmp_path / "a.npz", records))


class Payload:
    """What runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("place", ["record", "value", "key"])
def test_code_in_a_pool_is_refused_and_never_run(tmp_path, place):
    planted, records = tmp_path / "planted", group_records(2)
    if place == "record":
        records[1] = Payload(planted)
    elif place == "value":
        records[1]["score"] = Payload(planted)
    else:
        records[1][(Payload(planted),)] = 1
    said = refusal(write_groups(tmp_path / "a.npz", records))
    assert "wants to use 'posix.system'" in said or "wants to use 'nt.system'" in said
    assert not planted.exists()
    with np.load(tmp_path / "a.npz", allow_pickle=True) as file:
        file["grpo_pair_list"]  # it would have
    assert planted.exists()


def object_array(path, program, shape=(1,), descr="|O"):
    """An archive with any bytes as the pickle of its array."""
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + program
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("grpo_pair_list.npy", content)
    return path


def test_arrays_of_objects_that_are_none(tmp_path):
    path = tmp_path / "a.npz"
    assert "damaged pool" in refusal(object_array(path, b""))
    assert "damaged pool" in refusal(object_array(path, pickle.dumps([{"a": 1}])))
    assert "damaged pool" in refusal(object_array(path, pickle.dumps(np.ones(3))))
    two_axes = np.empty((2, 2), object)
    two_axes[:] = 1
    assert "damaged pool" in refusal(object_array(path, pickle.dumps(two_axes)))
    assert "expected objects" in refusal(object_array(path, b"", shape=(1, 1)))
    assert "expected objects" in refusal(object_array(path, bytes(8), descr="<f8"))
    assert "holds no groups" in refusal(write_groups(path, []))
    assert "record 0 is a str" in refusal(write_groups(path, ["a"]))
    np.savez(path, other=np.ones(3))
    assert "lacks the arrays ['grpo_pair_list']" in refusal(path)


def test_truncated_archives(tmp_path):
    whole = write_groups(tmp_path / "a.npz", group_records(3)).read_bytes()
    for share in (0.01, 0.5, 0.99):
        (tmp_path / "a.npz").write_bytes(whole[: int(share * len(whole))])
        refusal(tmp_path / "a.npz")


def test_one_record_that_is_many(tmp_path, monkeypatch):
    """A few bytes name the same record again and again, which would take as much memory each time."""
    record = group_records(1, members=50)[0]
    monkeypatch.setattr(published_pool_files, "MAX_NUMBERS", 500_000)
    path = write_groups(tmp_path / "a.npz", [record] * 200)
    assert path.stat().st_size < 200_000
    assert "has more than 500000 numbers in all records" in refusal(path)


def test_lists_that_hold_a_list_many_times(tmp_path):
    record = group_records(1)[0]
    many: list = [1.0] * 29
    for _ in range(5):
        many = [many] * 1000
    for key in ("pred_joints_uvd_29", "score", "trans", "gt_joints", "theta"):
        path = write_groups(tmp_path / "a.npz", [{**record, key: many}])
        if key in ("gt_joints", "theta"):
            found = within_budget(lambda path=path: read_published(path).not_carried, megabytes=300, seconds=10)
            assert key in found
        else:
            refusal(path)


def test_limits(tmp_path, monkeypatch):
    path = write_groups(tmp_path / "a.npz", group_records(2))
    for limit, value, words in (("MAX_POOL_BYTES", 100, "expected at most 100"), ("MAX_OPCODES", 50, "more than 50")):
        with monkeypatch.context() as patched:
            patched.setattr(published_pool_files, limit, value)
            assert words in refusal(path)


def test_own_files_that_do_not_fit_are_refused(tmp_path):
    pool = read_published(write_groups(tmp_path / "a.npz", group_records(2))).pool
    path = write_pool(tmp_path / "ours.npz", pool)
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    for changes, words in (
        ({"format_version": np.array(2)}, "format version 2"), ({"kind": np.array("photos")}, "no pool of pairs"),
        ({"joints": arrays["joints"][:1]}, "'joints'"), ({"twist": arrays["twist"] * np.nan}, "'twist' is float32"),
        ({"image_index": np.array([0.5, 1])}, "'image_index' does not fit"), ({"image_paths": np.ones(2)}, "no images"),
        ({"measure_score": np.ones((2, 3))}, "'measure_score' is float64 of shape (2, 3)"),
        ({"other_theta": np.ones((1, 3))}, "'other_theta' does not fit"),
    ):  # fmt: skip
        np.savez(path, **{**arrays, **changes})
        with pytest.raises(InputError) as error:
            read_pool(path)
        assert words in str(error.value) and str(path) in str(error.value)
    with pytest.raises(InputError, match=r"ends in \.npz"):
        write_published(tmp_path / "a.json", pool)
