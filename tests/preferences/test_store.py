"""Preference groups on disk: what is written is read, kills and full disks leave whole shards, damage is named."""

import json
import os
from dataclasses import asdict, replace

import pytest
import torch

from hmralign.data.shards import save_whole
from hmralign.preferences import store as store_module
from hmralign.preferences.store import CriticFacts, GroupStore, StoreFullError, writing
from hmralign.structures import BodyParams, Hypotheses, InputError, PreferenceGroups
from support.group_stores import SIZE, files_of, some_groups, store_facts

RANDOM = CriticFacts("random", needs_truth=False, settings={"seed": 0})


@pytest.fixture
def folder(tmp_path):
    """Shards of two, two and one groups, with truth, a photo that gave none, and scores."""
    facts = store_facts(with_truth=True)
    with writing(tmp_path / "store", facts) as store:
        for seed, ids in enumerate(["ab", "cd", "e"]):
            store.append(some_groups(ids, seed=seed, truth=True))
        store.skip("photo", "nobody was found")
        store.declare_critic("random", RANDOM)
        for shard in range(3):
            store.write_scores("random", shard, scores(len(store.shard_ids(shard)), shard))
    return tmp_path / "store"


def scores(groups: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(groups, SIZE, generator=torch.Generator().manual_seed(seed))


def lines_of(folder) -> list[bytes]:
    return (folder / "index.jsonl").read_bytes().splitlines(keepends=True)


def redone(folder) -> None:
    """Append what the folder lacks."""
    with writing(folder, store_facts(with_truth=True)) as store:
        for seed, ids in enumerate(["ab", "cd", "e"]):
            if ids[0] not in store.done():
                store.append(some_groups(ids, seed=seed, truth=True))
        if "photo" not in store.done():
            store.skip("photo", "nobody was found")
        for shard in store.unscored("random"):
            store.write_scores("random", shard, scores(len(store.shard_ids(shard)), shard))


# -- round trip --------------------------------------------------------------------------------------------------------


def test_what_is_appended_is_read_back(tmp_path):
    given = some_groups("abc", truth=True, photos=True)
    with writing(tmp_path, store_facts(with_truth=True)) as writer:
        writer.append(given)
    store = GroupStore.open(tmp_path)
    read = store.read(0, truth=True)
    assert read.ids == ("a", "b", "c") == store.ids and len(store) == 3 and store.num_shards == 1
    assert torch.equal(read.x_0, given.x_0)
    assert torch.equal(read.hypotheses.joints, given.hypotheses.joints)
    for name in ("betas", "transl"):
        assert torch.equal(getattr(read.hypotheses.body, name), getattr(given.hypotheses.body, name))
    assert (read.hypotheses.body.rotmats - given.hypotheses.body.rotmats).abs().max() < 1e-6
    there, was = read.example.observation.tensors(), given.example.observation.tensors()
    assert there.keys() == was.keys()
    for name in was:
        assert torch.equal(there[name], (was[name] * 255).round() / 255 if name == "mask" else was[name]), name
    assert torch.equal(read.example.landmarks3d.points, given.example.landmarks3d.points)
    assert torch.equal(read.example.landmarks3d.confidence, given.example.landmarks3d.confidence)
    assert torch.equal(read.example.annotation.joints, given.example.annotation.joints)
    assert torch.equal(read.example.annotation.body.rotmats, given.example.annotation.body.rotmats)
    assert torch.equal(read.crop_windows, given.crop_windows)
    assert tuple(store.crop(n) for n in range(3)) == given.crops


def test_what_is_read_and_written_again_is_the_same_store(folder, tmp_path):
    store = GroupStore.open(folder)
    with writing(tmp_path / "copy", store.facts) as copy:
        for shard in range(3):
            copy.append(store.read(shard, truth=True))
    assert [torch.equal(copy.read(s).x_0, store.read(s).x_0) for s in range(3)] == [True] * 3
    assert (copy.read(1).hypotheses.body.rotmats - store.read(1).hypotheses.body.rotmats).abs().max() < 1e-6


def test_groups_without_samples_or_landmarks_are_read_as_such(tmp_path):
    with writing(tmp_path, store_facts(predicted_by="another system")) as store:
        store.append(replace(some_groups("ab"), x_0=None))
    read = GroupStore.open(tmp_path).read(0)
    assert read.x_0 is None and read.example.landmarks3d is None and read.crop_windows is None
    assert GroupStore.open(tmp_path).crop(0) is None


def test_arrays_may_share_their_memory(tmp_path):
    groups = some_groups("ab", photos=True)
    confidence = groups.example.observation.confidence
    landmarks = replace(groups.example.landmarks3d, confidence=confidence)
    with writing(tmp_path, store_facts()) as store:
        store.append(replace(groups, example=replace(groups.example, landmarks3d=landmarks)))
    assert torch.equal(GroupStore.open(tmp_path).read(0).example.landmarks3d.confidence, confidence)


def test_a_writer_and_who_opens_the_store_later_see_the_same(folder, tmp_path):
    with writing(tmp_path / "new", store_facts()) as writer:
        writer.append(some_groups("ab"))
        writer.skip("c", "why\nnot")
        later = GroupStore.open(tmp_path / "new")
        assert (later.ids, later.skipped, later.facts) == (writer.ids, writer.skipped, writer.facts)
        assert later.content_hash() == writer.content_hash() and later.entries == writer.entries
        assert later.done() == writer.done() == {"a", "b", "c"}


def test_the_hash_is_of_groups_and_facts_and_not_of_scores(folder, tmp_path):
    before = GroupStore.open(folder).content_hash()
    with writing(folder) as store:
        store.declare_critic("another", RANDOM)
        store.write_scores("another", 0, scores(2))
    assert GroupStore.open(folder).content_hash() == before
    hashes = {before}
    for name, facts, seed in [("a", store_facts(), 0), ("b", store_facts(), 1), ("c", store_facts(seed=1), 0)]:
        with writing(tmp_path / name, facts) as store:
            store.append(some_groups("ab", seed=seed))
            hashes.add(store.content_hash())
    assert len(hashes) == 4


def test_appending_does_not_change_earlier_files(folder):
    before, index = files_of(folder), (folder / "index.jsonl").read_bytes()
    with writing(folder) as store:
        store.append(some_groups("xyz", seed=9, truth=True))
    after = files_of(folder)
    assert {p for p in before if before[p] != after[p]} == {"index.jsonl"}
    assert set(after) - set(before) == {"groups_00003.safetensors", "truth_00003.safetensors"}
    assert (folder / "index.jsonl").read_bytes().startswith(index)


def test_names_of_photos_need_not_be_text(tmp_path):
    """A file name on Linux is bytes; Python reads what is not UTF-8 as lone surrogates."""
    ids = ("caf\udce9.jpg#0", "日本.jpg#0", 'quo"te.jpg#0', "skipped")
    with writing(tmp_path, store_facts()) as store:
        store.append(replace(some_groups("abcd", photos=True), ids=ids))
        store.skip("na\udcefve.jpg", "'na\udcefve.jpg' is damaged")
    store = GroupStore.open(tmp_path)
    assert store.ids == ids and store.crop(0) is not None and "na\udcefve.jpg" in store.skipped


# -- kills -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [1, 20, -1])
def test_a_line_cut_in_the_middle_is_repaired(folder, kept):
    straight = files_of(folder)
    *lines, last = lines_of(folder)
    (folder / "index.jsonl").write_bytes(b"".join(lines) + last[:kept])
    assert GroupStore.open(folder).ids == tuple("abcde") and not GroupStore.open(folder).skipped
    (folder / "index.jsonl").write_bytes(b"".join(lines[:-1]) + lines[-1][:kept])
    assert GroupStore.open(folder).ids == tuple("abcd")  # reading needs no repair
    with writing(folder) as store:
        assert store.ids == tuple("abcd")
    assert lines_of(folder) == lines[:4]
    redone(folder)
    assert files_of(folder) == straight


@pytest.mark.parametrize("ids", ["ab", "abcd", "abcdef"])
def test_some_lines_of_the_last_shard_do_not_count(tmp_path, ids):
    """A shard of which the first line alone is there; a photo without people stands before it, and one is named so."""
    with writing(tmp_path, store_facts(source="skipped")) as store:
        for number in range(0, len(ids), 2):
            store.skip(f"photo {number}", "nobody")
            store.append(some_groups(ids[number : number + 2], seed=number))
    straight, lines = files_of(tmp_path), lines_of(tmp_path)
    (tmp_path / "index.jsonl").write_bytes(b"".join(lines[:-1]))
    store = GroupStore.open(tmp_path)
    assert store.ids == tuple(ids[:-2]) and store.num_shards == len(ids) // 2 - 1
    with writing(tmp_path) as writer:
        assert lines_of(tmp_path) == lines[:-2] and len(writer.skipped) == len(ids) // 2
        writer.append(some_groups(ids[-2:], seed=len(ids) - 2))
    assert files_of(tmp_path) == straight


def test_what_stands_behind_a_shard_that_is_cut_off_goes_with_it(folder):
    lines = lines_of(folder)
    (folder / "index.jsonl").write_bytes(b"".join([*lines[:3], lines[5]]))  # "d", "e" are lost, the photo is not
    assert GroupStore.open(folder).ids == ("a", "b") and not GroupStore.open(folder).skipped
    with writing(folder) as writer:
        assert writer.done() == {"a", "b"}
    assert lines_of(folder) == lines[:2]


def test_a_shard_without_lines_is_written_again(folder):
    straight = files_of(folder)
    (folder / "index.jsonl").write_bytes(b"".join(lines_of(folder)[:2]))
    (folder / "groups_00001.safetensors").write_bytes(b"of another attempt")
    assert GroupStore.open(folder).ids == ("a", "b") and GroupStore.open(folder).scores("random").shape == (2, SIZE)
    redone(folder)
    assert files_of(folder) == straight


def test_scores_of_a_shard_go_when_it_is_written_again(folder):
    """Else scores of groups that are gone would be taken for those of their successors."""
    (folder / "index.jsonl").write_bytes(b"".join(lines_of(folder)[:2]))
    with writing(folder) as store:
        store.append(some_groups("xy", seed=7, truth=True))
        assert store.unscored("random") == [1]
    with pytest.raises(InputError, match=r"scores_00001.*no scores of 2 groups"):
        GroupStore.open(folder).scores("random")


def test_parts_of_files_are_removed(folder):
    straight = files_of(folder)
    (folder / "crops").mkdir()
    kinds = ("groups_00003.part", ".tmpkJZIpa", "scores/random/scores_00002.part", "scores/random/.tmpa1B2c3")
    for name in (
        *kinds,
        "crops/abc.jpg.part",
        "crops/.abc.jpg.0123abcd.part",
        ".groups_00003.safetensors.0123abcd.part",
    ):
        (folder / name).write_bytes(b"half")
    with writing(folder):
        pass
    assert files_of(folder) == straight


def test_a_kill_before_the_store_has_a_name_does_not_block_the_folder(tmp_path):
    for name in ("store.part", ".store.json.0123abcd.part"):
        (tmp_path / name).write_text('{"format_ver')
    with writing(tmp_path, store_facts()) as store:
        store.append(some_groups("ab"))
    assert set(files_of(tmp_path)) == {"store.json", "index.jsonl", "groups_00000.safetensors"}


# -- full disks --------------------------------------------------------------------------------------------------------


def test_lines_that_are_written_by_half_leave_the_index_whole(folder, monkeypatch):
    before = files_of(folder)
    real = os.write
    with writing(folder) as store:
        with monkeypatch.context() as patched:
            patched.setattr(
                store_module.os, "write", lambda handle, content: real(handle, content[: len(content) // 2])
            )
            with pytest.raises(StoreFullError, match="what was there is whole"):
                store.append(some_groups("fg", seed=5, truth=True))
            with pytest.raises(StoreFullError, match="what was there is whole"):
                store.skip("another photo", "nobody")
        assert store.ids == tuple("abcde") and {p: files_of(folder)[p] for p in before} == before
        store.append(some_groups("fg", seed=5, truth=True))  # the same writer goes on
    assert GroupStore.open(folder).ids == tuple("abcdefg") and GroupStore.open(folder).read(3).ids == ("f", "g")


def test_a_file_that_cannot_be_written_leaves_no_part(folder, monkeypatch):
    before = files_of(folder)

    def full(tensors, path):
        path.with_name(f".{path.name}.0123abcd.part").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with writing(folder) as store:
        monkeypatch.setattr(store_module, "save_whole", full)
        with pytest.raises(StoreFullError, match="No space left on device"):
            store.append(some_groups("fg", truth=True))
        with pytest.raises(StoreFullError, match="No space left on device"):
            store.write_scores("random", 0, scores(2, 8))
    assert files_of(folder) == before


# -- damage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["groups", "truth"])
@pytest.mark.parametrize("damage", ["flipped", "flipped header", "truncated", "empty", "missing"])
def test_a_damaged_file_is_named(folder, kind, damage):
    path = folder / f"{kind}_00001.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    else:
        content[-5 if damage == "flipped" else 12] ^= 0x10
        path.write_bytes({"truncated": content[:-50], "empty": b""}.get(damage, content))
    store = GroupStore.open(folder)
    assert store.read(0, truth=True).ids == ("a", "b") and store.read(2, truth=True).ids == ("e",)
    with pytest.raises(InputError, match=path.name):
        store.read(1, truth=True)
    if kind == "truth":
        assert store.read(1).ids == ("c", "d")


def test_the_last_shard_may_be_missing_too(folder):
    (folder / "groups_00002.safetensors").unlink()
    store = GroupStore.open(folder)
    with pytest.raises(InputError, match="groups_00002"):
        store.read(2)


def test_shards_that_are_not_there(folder):
    for shard in (-1, 3):
        with pytest.raises(InputError, match=f"has 3 shards, there is no shard {shard}"):
            GroupStore.open(folder).read(shard)


def changed(line: bytes, **values) -> bytes:
    return json.dumps({**json.loads(line), **values}).encode() + b"\n"


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: b"garbage\n",
        lambda line: b"\n",
        lambda line: b"[1, 2]\n",
        lambda line: b"5\n",
        lambda line: b'"skipped"\n',
        lambda line: b"\xff\x00\xfe\n",
        lambda line: b'{"skipped": "no name"}\n',
        lambda line: changed(line, id=5),
        lambda line: changed(line, row="1"),
        lambda line: changed(line, crop=5),
        lambda line: changed(line, row=2),
        lambda line: changed(line, shard=7, row=0),
        lambda line: changed(line, shard_sha256="0" * 64),
        lambda line: b'{"id": "b", "shard": 0}\n',
    ],
)
def test_a_damaged_line_is_named_by_its_number(folder, damage):
    lines = lines_of(folder)
    (folder / "index.jsonl").write_bytes(b"".join([lines[0], damage(lines[1]), *lines[2:]]))
    for reading in (lambda: GroupStore.open(folder), lambda: writing(folder).__enter__()):
        with pytest.raises(InputError, match=r"index\.jsonl: line 2 is (damaged|no entry of a store)"):
            reading()


def test_a_missing_line_is_noticed(folder):
    lines = lines_of(folder)
    (folder / "index.jsonl").write_bytes(b"".join(lines[1:]))
    with pytest.raises(InputError, match=r"line 1 .*a line before it is missing"):
        GroupStore.open(folder)
    (folder / "index.jsonl").write_bytes(b"".join([lines[0], *lines[2:]]))
    with pytest.raises(InputError, match=r"groups_00000.*2 groups, the index names 1"):
        GroupStore.open(folder).read(0)


@pytest.mark.parametrize("content", ["", "{", "[]", "5", "null", '{"format_version": 1}', "\udcff"])
def test_a_record_that_is_none_is_named(folder, content):
    (folder / "store.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"store\.json"):
        GroupStore.open(folder)


def test_newer_and_missing_and_useless_records(folder, tmp_path):
    record = json.loads((folder / "store.json").read_text())
    for changes, said in [
        ({"format_version": 2}, "format version 2, this program reads 1"),
        ({"group_size": 1}, "group size 1"),
        ({"group_size": 2.5}, "store.json"),
        ({"flavour": "new"}, "not the record of a store"),
        ({"trained_on": 5}, "not the record of a store"),
    ]:
        (folder / "store.json").write_text(json.dumps({**record, **changes}))
        with pytest.raises(InputError, match=said):
            GroupStore.open(folder)
    (folder / "store.json").unlink()
    for reading in (lambda: GroupStore.open(folder), lambda: writing(folder).__enter__()):
        with pytest.raises(InputError, match=r"no store\.json"):
            reading()
    with pytest.raises(InputError, match=r"no store\.json"), writing(tmp_path / "nowhere"):
        pass
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_of_something_else_does_not_become_a_store(folder, tmp_path):
    (folder / "store.json").unlink()
    with pytest.raises(InputError, match="is not empty"), writing(folder, store_facts()):
        pass
    (tmp_path / "file").write_text("text")
    with pytest.raises(InputError, match="no folder that can be written to"), writing(tmp_path / "file", store_facts()):
        pass


def test_a_store_written_before_truth_was_hashed_is_read(folder):
    old = [{k: v for k, v in json.loads(line).items() if k != "truth_sha256"} for line in lines_of(folder)]
    (folder / "index.jsonl").write_text("".join(json.dumps(record) + "\n" for record in old))
    assert GroupStore.open(folder).read(0, truth=True).example.annotation is not None


def test_an_empty_store(tmp_path):
    with writing(tmp_path, store_facts()) as store:
        store.declare_critic("random", RANDOM)
    store = GroupStore.open(tmp_path)
    assert len(store) == store.num_shards == 0 and store.ids == () and store.unscored("random") == []
    assert store.critics() == ("random",) and len(store.content_hash()) == 64
    with pytest.raises(InputError, match="holds no groups"):
        store.scores("random")
    with pytest.raises(InputError, match="there is no shard 0"):
        store.read(0)


# -- facts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"checkpoint_sha256": "e" * 64}, {"seed": 1}, {"group_size": 4}, {"source_sha256": "e" * 64},
        {"skeleton_hash": "e" * 64}, {"mesh_hash": "e" * 64}, {"sampler_steps": 3}, {"source": "lab/train"},
        {"with_truth": False}, {"shard_size": 3}, {"detector": "another"}, {"options": {}}, {"trained_on": ()},
        {"predicted_by": "another system"}, {"retargeted": True},
    ],
)  # fmt: skip
def test_a_store_is_continued_with_the_same_facts_only(folder, change):
    before, (name,) = files_of(folder), change
    with pytest.raises(InputError, match=rf"with {name}[.\w]* = .* use another folder"):
        with writing(folder, store_facts(**{"with_truth": True, **change})):
            pass
    assert files_of(folder) == before
    with writing(folder, store_facts(with_truth=True)) as store:
        assert len(store) == 5


def test_one_hypothesis_is_no_group(tmp_path):
    with pytest.raises(InputError, match="group size is 1"), writing(tmp_path / "a", store_facts(group_size=1)):
        pass
    with writing(tmp_path / "b", store_facts()) as store, pytest.raises(InputError, match="have 1 hypothesis"):
        store.append(some_groups("ab", size=1))


def test_two_writers_in_one_process(tmp_path):
    with writing(tmp_path, store_facts()):
        with pytest.raises(InputError, match="another process is writing"), writing(tmp_path, store_facts()):
            pass
    with pytest.raises(RuntimeError, match="mine"), writing(tmp_path, store_facts()):
        raise RuntimeError("mine")
    with writing(tmp_path, store_facts()):
        pass


# -- groups that are refused -------------------------------------------------------------------------------------------


def test_names_that_are_refused(folder):
    with writing(folder) as store:
        before = files_of(folder)
        for ids, said in [
            (("f", "a"), "'a' is there already"),
            (("photo", "f"), "'photo' is there already"),
            (("f", "f"), "same name"),
            (("f", ""), "is no name"),
            (("f", "g" * 501), "is no name"),
            (("f", "g\nh"), "is no name"),
        ]:
            with pytest.raises(InputError, match=said):
                store.append(replace(some_groups("xy", truth=True), ids=ids))
        for id_, said in [("a", "is there already"), ("photo", "is there already"), ("", "is no name")]:
            with pytest.raises(InputError, match=said):
                store.skip(id_, "reason")
        with pytest.raises(InputError, match="no groups to add"):
            store.append(some_groups("", truth=True))
        assert files_of(folder) == before and len(store) == 5


def spoilt(groups: PreferenceGroups, name: str, value: float) -> PreferenceGroups:
    """With one number of the second group replaced."""
    body, example = groups.hypotheses.body, groups.example
    arrays = {
        "joints": groups.hypotheses.joints, "x_0": groups.x_0, "betas": body.betas, "transl": body.transl,
        "orient": body.global_orient, "keypoints": example.observation.keypoints,
        "truth": example.annotation.joints, "landmarks": example.landmarks3d.points,
    }  # fmt: skip
    arrays[name] = arrays[name].clone()
    arrays[name][1].view(-1)[-1] = value
    body = BodyParams(arrays["orient"], body.body_pose, arrays["betas"], arrays["transl"])
    example = replace(
        example,
        observation=replace(example.observation, keypoints=arrays["keypoints"]),
        annotation=replace(example.annotation, joints=arrays["truth"]),
        landmarks3d=replace(example.landmarks3d, points=arrays["landmarks"]),
    )
    return replace(groups, x_0=arrays["x_0"], hypotheses=Hypotheses(body, arrays["joints"]), example=example)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["joints", "x_0", "betas", "transl", "keypoints", "truth", "landmarks"])
def test_a_number_that_is_not_finite_is_named_by_its_group(tmp_path, name, value):
    with writing(tmp_path, store_facts(with_truth=True)) as store:
        with pytest.raises(InputError, match="of group 'culprit' is not finite"):
            bad = spoilt(some_groups("abc", truth=True, photos=True), name, value)
            store.append(replace(bad, ids=("a", "culprit", "c")))
    assert set(files_of(tmp_path)) == {"store.json"}


def test_matrices_that_are_no_rotations_are_refused(tmp_path):
    """Two columns are stored: a mirrored or scaled matrix would come back as another one."""
    with writing(tmp_path, store_facts()) as store:
        for value in (float("nan"), 3.0):
            with pytest.raises(InputError, match="'b'"):
                store.append(spoilt(some_groups("abc", truth=True, photos=True), "orient", value))
        groups = some_groups("ab")
        mirror = groups.hypotheses.body.body_pose * torch.tensor([1.0, 1.0, -1.0])
        body = replace(groups.hypotheses.body, body_pose=mirror)
        with pytest.raises(InputError, match="'a' has a matrix that is no rotation"):
            store.append(replace(groups, hypotheses=Hypotheses(body, groups.hypotheses.joints)))


def test_groups_whose_parts_do_not_fit(tmp_path):
    groups = some_groups("abc", photos=True)
    for change in [{"ids": ("a",)}, {"crops": (b"jpeg",)}, {"example": groups.example[:2]}]:
        with pytest.raises((InputError, TypeError)):
            replace(groups, **change)
    with pytest.raises(InputError, match="2 pictures for 3 groups"):
        replace(groups, crops=(b"jpeg", None))
    with writing(tmp_path, store_facts()) as store, pytest.raises(InputError, match="the store's have 3"):
        store.append(some_groups("ab", size=4))


# -- truth and pictures ------------------------------------------------------------------------------------------------


def test_truth_is_read_only_where_it_is_kept_and_asked_for(folder, tmp_path):
    store = GroupStore.open(folder)
    assert store.read(0).example.annotation is None and store.read(0, truth=True).example.annotation is not None
    with writing(tmp_path / "without", store_facts()) as without:
        without.append(some_groups("ab", truth=True))
    assert not list((tmp_path / "without").glob("truth*"))
    with pytest.raises(InputError, match="holds no truth"):
        GroupStore.open(tmp_path / "without").read(0, truth=True)
    with writing(folder) as store, pytest.raises(InputError, match="keeps truth, but these groups have none"):
        store.append(some_groups("fg"))


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/hostname", "..", "a/../../secret.jpg", "secret.jpg\n", ""])
def test_a_picture_outside_of_the_folder_is_not_read(tmp_path, name):
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    folder = tmp_path / "store"
    with writing(folder, store_facts()) as store:
        store.append(some_groups("ab", photos=True))
    lines = lines_of(folder)
    (folder / "index.jsonl").write_bytes(changed(lines[0], crop=name) + lines[1])
    with pytest.raises(InputError, match="no name of one"):
        GroupStore.open(folder).crop(0)


def test_a_missing_picture_names_its_group(tmp_path):
    with writing(tmp_path, store_facts()) as store:
        store.append(some_groups("ab", photos=True))
        next(tmp_path.glob("crops/*.jpg")).unlink()
        with pytest.raises(InputError, match="picture of group 'a' is missing"):
            store.crop(0)


# -- scores ------------------------------------------------------------------------------------------------------------


def test_scores_are_read_in_the_order_of_the_groups(folder):
    store = GroupStore.open(folder)
    expected = torch.cat([scores(2, 0), scores(2, 1), scores(1, 2)])
    assert store.critics() == ("random",) and torch.equal(store.scores("random"), expected)
    assert store.unscored("random") == [] and store.critic_facts("random")["settings"] == {"seed": 0}


def test_a_critic_of_the_same_name_with_other_settings_is_refused(folder):
    before = files_of(folder)
    with writing(folder) as store:
        store.declare_critic("random", replace(RANDOM))
        for other in (
            replace(RANDOM, settings={"seed": 1}),
            replace(RANDOM, memory_sha256="e" * 64),
            replace(RANDOM, needs_truth=True),
        ):
            with pytest.raises(InputError, match="other settings; use another name"):
                store.declare_critic("random", other)
    assert files_of(folder) == before


@pytest.mark.parametrize("content", ["", "[]", "{", json.dumps({**asdict(RANDOM), "format_version": 2})])
def test_a_record_of_a_critic_that_is_damaged_or_newer_is_named(folder, content):
    (folder / "scores" / "random" / "critic.json").write_text(content)
    with writing(folder) as store:
        for use in (lambda: store.scores("random"), lambda: store.declare_critic("random", RANDOM)):
            with pytest.raises(InputError, match=r"critic\.json"):
                use()


def test_scores_that_are_missing_damaged_or_of_another_shape(folder):
    path = folder / "scores" / "random" / "scores_00001.safetensors"
    good = path.read_bytes()
    nan = scores(2)
    nan[1, 0] = torch.nan
    for tensors, said in [
        ({"scores": scores(1)}, r"expected shape \(2, 3\)"),
        ({"scores": scores(2)[:, :2].contiguous()}, r"expected shape \(2, 3\)"),
        ({"other": scores(2)}, r"expected shape \(2, 3\)"),
        ({"scores": nan}, "'d' is not finite"),
    ]:
        save_whole(tensors, path)
        with pytest.raises(InputError, match=f"scores_00001.*{said}"):
            GroupStore.open(folder).scores("random")
    path.write_bytes(good[:-4])
    with pytest.raises(InputError, match=r"scores_00001.*damaged"):
        GroupStore.open(folder).scores("random")
    path.unlink()
    store = GroupStore.open(folder)
    assert store.unscored("random") == [1]
    with pytest.raises(InputError, match="no scores of 2 groups; score again"):
        store.scores("random")


def test_scores_that_are_not_written(folder):
    before = files_of(folder)
    with writing(folder) as store:
        with pytest.raises(InputError, match=r"have shape \(2, 2\), expected \(2, 3\)"):
            store.write_scores("random", 0, torch.zeros(2, 2))
        with pytest.raises(InputError, match=r"have shape \(2, 3\), expected \(1, 3\)"):
            store.write_scores("random", 2, torch.zeros(2, SIZE))
        for value in (torch.nan, torch.inf, -torch.inf):
            bad = scores(2)
            bad[1, 2] = value
            with pytest.raises(InputError, match="critic 'random': a score of group 'd' is not finite"):
                store.write_scores("random", 1, bad)
        with pytest.raises(InputError, match="there is no shard 3"):
            store.write_scores("random", 3, scores(2))
        with pytest.raises(InputError, match=r"undeclared.critic\.json"):
            store.write_scores("undeclared", 0, scores(2))
    assert files_of(folder) == before


def test_an_unknown_critic_is_told_of_those_there(folder, tmp_path):
    with writing(folder) as store:
        store.declare_critic("mix", RANDOM)
    with pytest.raises(InputError, match=r"no scores by 'oracle' \(there are: mix, random\)"):
        GroupStore.open(folder).scores("oracle")
    with writing(tmp_path / "none", store_facts()) as store, pytest.raises(InputError, match=r"\(there are: none\)"):
        store.scores("oracle")


@pytest.mark.parametrize("name", ["../outside", "a/b", "..", ".", "", ".hidden", "a" * 100, "line\n", "/tmp/x", "a\\b"])
def test_names_of_critics_do_not_leave_the_folder(folder, name):
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "critic.json").write_text((folder / "scores" / "random" / "critic.json").read_text())
    before = files_of(folder.parent)
    with writing(folder) as store:
        for use in (
            lambda: store.declare_critic(name, RANDOM),
            lambda: store.write_scores(name, 0, scores(2)),
            lambda: store.critic_facts(name),
            lambda: store.unscored(name),
            lambda: store.scores(name),
        ):
            with pytest.raises(InputError):
                use()
    assert files_of(folder.parent) == before


def test_a_folder_with_other_things_in_it_is_left_as_it_is(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"notes\.txt"), writing(tmp_path, store_facts()):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_two_groups_of_one_name_are_refused_by_that_name(tmp_path):
    with writing(tmp_path / "store", store_facts()) as store, pytest.raises(InputError, match="the same name, 'b'"):
        store.append(some_groups("abcb"))
    assert len(GroupStore.open(tmp_path / "store")) == 0


def test_a_store_of_an_older_seed_derivation_is_read_and_not_continued(tmp_path):
    older, newer = store_facts(), store_facts(seed_derivation=2)
    with writing(tmp_path, older) as writer:
        writer.append(some_groups("ab"))
    assert "seed_derivation" not in json.loads((tmp_path / "store.json").read_text()), "as stores of before have it"
    before = files_of(tmp_path)
    with pytest.raises(InputError, match="drawn under seed derivation 1, this program draws under 2"):
        with writing(tmp_path, newer):
            pass
    assert files_of(tmp_path) == before and GroupStore.open(tmp_path).ids == ("a", "b")
    with writing(tmp_path / "new", newer) as writer:
        writer.append(some_groups("ab"))
    assert GroupStore.open(tmp_path / "new").facts == newer
    assert GroupStore.open(tmp_path / "new").content_hash() != GroupStore.open(tmp_path).content_hash()
