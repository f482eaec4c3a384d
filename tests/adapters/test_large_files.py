"""Large data sets: opening reads columns and no persons, a file that was read is not read again, batches stay small."""

import subprocess
import sys

import numpy as np
import pytest

from hmralign.adapters import json_records
from hmralign.data.dataset import DatasetSetting, open_dataset
from support.published_datasets import body_file, people, write_3dpw_json, write_human_data


@pytest.fixture(scope="module")
def bodies(tmp_path_factory):
    return tmp_path_factory.mktemp("bodies")


@pytest.fixture(scope="module")
def who(bodies):
    return people(body_file(str(bodies)))


@pytest.fixture()
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(json_records, "CACHED_FROM_BYTES", 0)
    return tmp_path / "cache/hmralign/labels"


NO_PERSON = """
import sys
from pathlib import Path
from hmralign.adapters.persons import AdaptedPersons
from hmralign.data.dataset import open_dataset
AdaptedPersons.batch = lambda self, rows: sys.exit("persons were made")
persons = open_dataset("3dpw-json", Path(sys.argv[1]), "test")
assert len(persons) == 4 and len(persons.first(2)) == 2 and persons.sha256
"""


def test_opening_makes_no_person(who, tmp_path):
    """In a process of its own: the checks of types that tests switch on look at every property of what is returned."""
    write_3dpw_json(tmp_path, who)
    done = subprocess.run([sys.executable, "-c", NO_PERSON, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_file_is_read_once_until_it_changes(who, tmp_path, kept, monkeypatch):
    def change(content):
        content["annotations"][0].pop("bbox")

    write_3dpw_json(tmp_path / "set", who, change=change)
    first = open_dataset("3dpw-json", tmp_path / "set", "test", DatasetSetting())
    assert len(first) == 3 and len(list(kept.glob("*.npz"))) == 1
    with monkeypatch.context() as patch:
        patch.setattr(json_records, "json_items", lambda *a, **k: pytest.fail("it was read again"))
        again = open_dataset("3dpw-json", tmp_path / "set", "test", DatasetSetting())
    assert again.sha256 == first.sha256 and again.faults.record() == first.faults.record() != {}
    next(kept.glob("*.npz")).write_bytes(b"damaged")
    assert open_dataset("3dpw-json", tmp_path / "set", "test", DatasetSetting()).sha256 == first.sha256
    write_3dpw_json(tmp_path / "set", who)
    assert len(open_dataset("3dpw-json", tmp_path / "set", "test", DatasetSetting())) == 4


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(who, tmp_path, kept, monkeypatch, caplog):
    write_3dpw_json(tmp_path / "set", who)
    (tmp_path / "cache").write_text("a file where a folder should be")
    assert len(open_dataset("3dpw-json", tmp_path / "set", "test", DatasetSetting())) == 4


def test_keypoints_of_an_archive_are_not_unpacked_to_all_190(who, tmp_path):
    import tracemalloc

    def many(content):
        for key in ("image_path", "bbox_xywh", "keypoints2d_smpl", "keypoints2d_original"):
            content[key] = np.repeat(content[key], 1000, axis=0)
        content["smpl"] = {key: np.repeat(value, 1000, axis=0) for key, value in content["smpl"].items()}
        content["meta"] = {
            key: np.repeat(np.array(value), 1000, axis=0).tolist() for key, value in content["meta"].items()
        }

    write_human_data(tmp_path, who, compressed=True, change=many)
    tracemalloc.start()
    persons = open_dataset("human-data", tmp_path, "toy", DatasetSetting())
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(persons) == 4000 and most < 4000 * 190 * 3 * 8


def test_memory_does_not_grow_while_persons_are_iterated(who, tmp_path):
    """What the tenth batch takes at most, the hundredth does too."""
    import tracemalloc

    def many(content):
        for key in ("image_path", "bbox_xywh", "keypoints2d_smpl", "keypoints2d_original"):
            content[key] = np.repeat(content[key], 800, axis=0)
        content["smpl"] = {key: np.repeat(value, 800, axis=0) for key, value in content["smpl"].items()}
        content["meta"] = {key: np.repeat(np.array(v), 800, axis=0).tolist() for key, v in content["meta"].items()}

    write_human_data(tmp_path, who, compressed=True, change=many)
    persons = open_dataset("human-data", tmp_path, "toy", DatasetSetting())
    peaks = []
    tracemalloc.start()
    for first in range(0, 3200, 32):
        persons.batch(slice(first, first + 32))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.reset_peak()
    tracemalloc.stop()
    assert max(peaks[10:]) < 1.2 * max(peaks[:10]) + 2**16


def test_columns_that_a_file_does_not_give_take_no_memory(who, tmp_path):
    from hmralign.adapters.labels import is_same

    write_human_data(tmp_path, who)
    labels = open_dataset("human-data", tmp_path, "toy", DatasetSetting()).labels
    assert is_same(labels.joints) and is_same(labels.R_cam_file) and not is_same(labels.poses)
    some = labels[np.array([True, False, True, True])]
    assert is_same(some.joints) and some.joints.shape == (3, 29, 3) and is_same(type(labels).cat([some, some]).joints)
    assert np.array_equal(some.poses, labels.poses[[0, 2, 3]])
