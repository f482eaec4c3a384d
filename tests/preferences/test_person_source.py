"""Persons of groups: shard folders, splits of SynthWild, photos in which a detector finds people."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hmralign.data.shards import write_index, write_shard
from hmralign.data.synthetic.synthwild import V1, Slices
from hmralign.data.synthwild_folder import content_hash, slice_tensors, write_slices
from hmralign.detection.detection import Detection
from hmralign.detection.find_people import people_from_array
from hmralign.detection.mediapipe_client import DetectorError
from hmralign.detection.person_mask import PersonMask
from hmralign.preferences import person_source as sources
from hmralign.preferences.build import GroupStoreConfig, build_groups
from hmralign.preferences.person_source import GroupSource, PhotoSource, ShardSource, as_stored, unique_names
from hmralign.preferences.store import GroupStore
from hmralign.storage.seeds import seeded
from hmralign.structures import InputError
from support.group_stores import SIZE, STEPS, files_of, shard_folder, tiny_policy
from support.recover_example import HEIGHT, WIDTH, example_photo
from support.split_tensors import split_tensors
from support.synthetic_persons import BODY, persons

# -- shards ------------------------------------------------------------------------------------------------------------


def ids_of(source, size=4, done=frozenset()) -> list[tuple[str, ...]]:
    return [batch.ids for batch in source.batches(size, done)]


def test_ids_of_shards_are_stable_and_blocks_do_not_move(tmp_path):
    folder = shard_folder(tmp_path / "a", 11, per_shard=5)
    source = ShardSource.open(folder)
    assert isinstance(source, GroupSource) and source.has_truth
    blocks = ids_of(source)
    assert [len(b) for b in blocks] == [4, 4, 3] and ids_of(ShardSource.open(folder)) == blocks
    assert [i for b in blocks for i in b] == [f"shards:train/{n:06d}" for n in range(11)]
    assert ids_of(source, done=set(blocks[1])) == [blocks[0], blocks[2]]
    batch = list(source.batches(4, set()))[2]
    assert torch.equal(batch.example.observation.box, persons(11).observation.box[8:])
    assert batch.crops is None and batch.skipped is None
    with pytest.raises(InputError, match="the store has 2: it was built with another number of persons"):
        ids_of(source, done=set(blocks[0][:2]))


def test_the_hash_of_shards_is_of_their_content(tmp_path):
    here, cut, other = (
        ShardSource.open(shard_folder(tmp_path / name, 6, **how))
        for name, how in [("a", {}), ("b", {"per_shard": 2}), ("c", {"seed": 6})]
    )
    assert here.sha256 == cut.sha256 != other.sha256


def test_the_first_persons_of_shards(tmp_path):
    folder = shard_folder(tmp_path / "a", 6)
    assert ids_of(ShardSource.open(folder, 5)) == [
        b[:1] if n else b for n, b in enumerate(ids_of(ShardSource.open(folder)))
    ]
    assert ids_of(ShardSource.open(folder, 6)) == ids_of(ShardSource.open(folder))
    for number in (0, -1, 7):
        with pytest.raises(InputError, match=f"has 6 persons, {number} were asked for"):
            ShardSource.open(folder, number)
    with pytest.raises(InputError, match=r"no index\.json"):
        ShardSource.open(tmp_path)


def benchmark_split(folder: Path) -> Path:
    """Four persons as the split `mocap/test`, which is not held against a frozen hash."""
    example = persons(4)
    numbers = torch.linspace(0.1, 0.4, 4)
    slices = Slices(numbers, numbers + 1, numbers + 2, torch.ones(4, dtype=torch.bool), numbers + 3)
    folder.mkdir(parents=True)
    write_shard(folder, 0, example)
    write_slices(folder, 0, slices)
    sha256 = content_hash(split_tensors(example, slices))
    write_index(folder, benchmark=V1, split="mocap/test", examples=4, sha256=sha256)
    assert set(slice_tensors(slices)) <= set(split_tensors(example, slices))
    return folder


def test_a_split_of_synthwild_has_its_own_name_wherever_it_lies(tmp_path, monkeypatch):
    folder = benchmark_split(tmp_path / "mocap_test")
    source = ShardSource.open(folder)
    assert source.name == "mocap/test" and len(source.sha256) == 64 and source.persons == 4
    assert ids_of(source)[0][0] == "mocap/test/000000"
    copy = folder.rename(tmp_path / "copy of it")
    assert ShardSource.open(copy).sha256 == source.sha256
    monkeypatch.chdir(copy)
    assert ShardSource.open(Path(".")).sha256 == source.sha256


def test_the_folder_that_is_given_is_read_and_not_its_neighbour(tmp_path):
    benchmark_split(tmp_path / "mocap_test")
    damaged = benchmark_split(tmp_path / "damaged")
    write_shard(damaged, 0, persons(4, seed=6))
    with pytest.raises(InputError, match="damaged: its arrays are not those"):
        ShardSource.open(damaged)
    write_index(damaged, benchmark=V1, examples=4)
    with pytest.raises(InputError, match="remove this folder, or use another one"):
        ShardSource.open(damaged)


# -- photos ------------------------------------------------------------------------------------------------------------


class FakeDetector:
    """Finds whom it was told to, by the colour of a photo's first pixel, and counts."""

    def __init__(self, found: dict[int, list[Detection]]) -> None:
        self.found, self.asked = found, []

    def __call__(self, image):
        colour = int(image[0, 0, 0])
        self.asked.append(colour)
        if colour == 255:
            raise DetectorError("the detector process ended twice during 'detect'")
        return self.found.get(colour, [])

    def detect_in_box(self, image, box):
        raise AssertionError("nobody gave a box")


def person(shift=0.0) -> Detection:
    points = example_photo()[1]
    points[:, 0] += shift
    alpha = np.full((8, 8), 77, np.uint8)
    mask = PersonMask(alpha, (20.3, 10.1, 100.7, 180.2))
    landmarks = np.random.default_rng(0).normal(size=(33, 4)).astype(np.float32)
    return dataclasses.replace(people_from_array(points)[0], mask=mask, landmarks3d=landmarks, detector="fake")


def with_keypoints(number: int) -> Detection:
    seen = person()
    confidence = seen.confidence.copy()
    confidence[number:] = 0
    return dataclasses.replace(seen, confidence=confidence)


def photo(path: Path, colour: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rgb = np.full((HEIGHT, WIDTH, 3), colour, np.uint8)
    Image.fromarray(rgb).save(path)
    return path


PEOPLE = {1: [person()], 2: [person(), person(5.0), person(-5.0)], 4: [with_keypoints(2), person(), with_keypoints(0)]}


@pytest.fixture
def album(tmp_path):
    """One person, three people, nobody, one of three who can be used, a photo that is none, nobody who can be used."""
    names = {"one.png": 1, "three.png": 2, "empty.png": 3, "some.png": 4, "few.png": 5}
    photos = [photo(tmp_path / "album" / name, colour) for name, colour in names.items()]
    broken = tmp_path / "album" / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff no photo")
    return [*photos[:4], broken, *photos[4:]]


def detector() -> FakeDetector:
    return FakeDetector({**PEOPLE, 5: [with_keypoints(2)]})


def built(source, folder, policy=None) -> GroupStore:
    config = GroupStoreConfig(group_size=SIZE, num_steps=STEPS, shard_size=8)
    return build_groups(policy or tiny_policy(), BODY, "c" * 64, ("lab/train",), source, folder, config)


def test_everybody_in_every_photo(album):
    source = PhotoSource(album, detector())
    assert isinstance(source, GroupSource) and not source.has_truth
    one, three, empty, some, broken, few = source.batches(8, set())
    assert (one.ids, three.ids) == (("one.png#0",), ("three.png#0", "three.png#1", "three.png#2"))
    assert some.ids == ("some.png#0",) and torch.equal(some.example.observation.box, one.example.observation.box)
    assert three.example.annotation is None and three.example.landmarks3d.confidence.shape == (3, 27)
    for batch, name, reason in [(empty, "empty.png", "nobody"), (few, "few.png", "3 keypoints"),
                                (broken, "broken.jpg", "broken.jpg")]:  # fmt: skip
        assert batch.ids == (name,) and batch.example is None and reason in batch.skipped
    assert [b.ids for b in PhotoSource(album[1:2], detector()).batches(2, set())] == [three.ids[:2]]


def test_pictures_show_the_windows_of_the_people(album):
    _, three, *_ = PhotoSource(album, detector()).batches(8, set())
    for picture, window, box in zip(three.crops, three.crop_windows, three.example.observation.box, strict=True):
        assert picture[:2] == b"\xff\xd8"
        assert (window[:2] <= box[:2]).all() and (window[2:] >= box[2:]).all()
        assert window[2] - window[0] == window[3] - window[1]


def test_photos_become_groups_and_are_not_detected_again(album, tmp_path):
    first = detector()
    store = built(PhotoSource(album, first), tmp_path / "store")
    assert store.ids == ("one.png#0", "three.png#0", "three.png#1", "three.png#2", "some.png#0")
    assert first.asked == [1, 2, 3, 4, 5] and store.num_shards == 3
    assert set(store.skipped) == {"empty.png", "broken.jpg", "few.png"} and "nobody" in store.skipped["empty.png"]
    assert all(store.crop(n)[:2] == b"\xff\xd8" for n in range(5)) and store.read(1).crop_windows.shape == (3, 4)
    before, again = files_of(tmp_path / "store"), detector()
    built(PhotoSource(album, again), tmp_path / "store")
    assert again.asked == [] and files_of(tmp_path / "store") == before


def test_a_detector_that_dies_stops_the_build_and_skips_no_photo(album, tmp_path):
    """What is remembered as skipped is never looked at again."""
    straight = built(PhotoSource(album, detector()), tmp_path / "straight")

    class Dying(FakeDetector):
        def __call__(self, image):
            return super().__call__(image if image[0, 0, 0] != 4 else np.full_like(image, 255))

    with pytest.raises(DetectorError):
        built(PhotoSource(album, Dying({**PEOPLE})), tmp_path / "store")
    assert built(PhotoSource(album, rest := detector()), tmp_path / "store").skipped == straight.skipped
    assert rest.asked == [4, 5] and files_of(tmp_path / "store") == files_of(tmp_path / "straight")


def test_masks_that_are_stored_are_those_that_were_sampled_from(album, tmp_path):
    policy = tiny_policy()
    read = built(PhotoSource(album[:1], detector()), tmp_path / "store", policy).read(0)
    seen = read.example.observation
    assert seen.has_mask.all() and 0 < seen.mask.max() < 1
    raw = next(iter(PhotoSource(album[:1], detector()).batches(8, set()))).example.observation
    assert torch.equal(seen.mask, as_stored(raw).mask) and torch.equal(as_stored(seen).mask, seen.mask)
    generators = [seeded(0, "groups", name) for name in read.ids]
    assert torch.equal(read.x_0, policy.sample_each(policy.context(seen), SIZE, generators))


def test_the_hash_of_photos_is_of_names_and_sizes(album, tmp_path):
    sha256 = PhotoSource(album, detector()).sha256
    moved = [photo(tmp_path / "moved" / p.name, 9) if p.suffix == ".png" else p for p in album]
    for there, here in zip(moved, album, strict=True):
        there.write_bytes(here.read_bytes())
    assert PhotoSource(moved, detector()).sha256 == sha256
    assert PhotoSource(album[:-1], detector()).sha256 != sha256
    album[0].write_bytes(album[0].read_bytes() + b"more")
    assert PhotoSource(album, detector()).sha256 != sha256
    album[0].unlink()
    with pytest.raises(InputError, match=r"one\.png' cannot be read"):
        PhotoSource(album, detector()).sha256  # noqa: B018


def test_equal_names_in_other_folders(tmp_path):
    photos = [photo(tmp_path / "p" / folder / "me.png", colour) for folder, colour in [("a", 1), ("b", 2)]]
    assert unique_names(photos) == ["a/me.png", "b/me.png"]
    store = built(PhotoSource(photos, detector()), tmp_path / "store")
    assert store.ids == ("a/me.png#0", "b/me.png#0", "b/me.png#1", "b/me.png#2")
    renamed = [photo(tmp_path / "q" / folder / "me.png", colour) for folder, colour in [("c", 1), ("d", 2)]]
    with pytest.raises(InputError, match="with source_sha256 = "):  # other names would be groups once more
        built(PhotoSource(renamed, detector()), tmp_path / "store")


@pytest.mark.parametrize(
    "paths, names",
    [
        ([], []),
        (["x/a.jpg", "y/b.jpg"], ["a.jpg", "b.jpg"]),
        (["x/z/a.jpg", "y/z/a.jpg", "b.jpg"], ["x/z/a.jpg", "y/z/a.jpg", "b.jpg"]),
        (["a.jpg", "x/a.jpg"], ["a.jpg", "x/a.jpg"]),
        (["/".join("xyz"[n] for n in d) + "/a.jpg" for d in ([0] + [2] * 40, [1] + [2] * 40)], None),
    ],
)
def test_names_of_photos_are_as_short_as_tells_them_apart(paths, names):
    found = unique_names([Path(p) for p in paths])
    assert found == names if names is not None else len(set(found)) == len(paths)


def test_a_photo_is_given_once(tmp_path):
    one = photo(tmp_path / "a.png", 1)
    source = PhotoSource([one, one], detector())
    for use in (lambda: source.sha256, lambda: list(source.batches(8, set()))):
        with pytest.raises(InputError, match=r"a\.png' is given twice"):
            use()


def test_pictures_are_small(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "CROP_SIDE", 64)
    batch = next(iter(PhotoSource([photo(tmp_path / "a.png", 1)], detector()).batches(8, set())))
    (tmp_path / "crop.jpg").write_bytes(batch.crops[0])
    assert max(Image.open(tmp_path / "crop.jpg").size) <= 64
