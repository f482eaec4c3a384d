"""Joints without a body: they come back limb by limb on the free body, and no body file is taken for theirs."""

import pytest
import torch

from hmralign.data.dataset import DatasetSetting
from hmralign.geometry.cameras import project
from hmralign.structures import InputError
from support.published_datasets import body_file, opener, people, write_mpi_inf_3dhp

LIMBS = [1, 2, 4, 5, 7, 8, 16, 17, 18, 19, 20, 21]


@pytest.fixture(scope="module")
def bodies(tmp_path_factory):
    return tmp_path_factory.mktemp("bodies")


@pytest.mark.parametrize(("split", "joints"), [("train", 28), ("test", 17)])
def test_joints_come_back_limb_by_limb(split, joints, bodies, tmp_path):
    who = people(body_file(str(bodies)))
    write_mpi_inf_3dhp(tmp_path, who, split=split, joints=joints)
    persons = opener("mpi-inf-3dhp")(tmp_path, split, DatasetSetting(crop_side=64))
    example = persons.examples
    assert len(persons) == 4 and persons.faults.total == 0 and bool(example.observation.knows_camera.all())
    off = (example.annotation.joints - who.joints).norm(dim=-1)[:, LIMBS]
    assert float(off.mean()) < 0.03 and float(off.max()) < 0.15
    pixels = project(example.annotation.joints, example.observation.K)[:, LIMBS]
    assert float((pixels - who.points[:, LIMBS]).abs().mean()) < 3
    left, right = example.annotation.joints[:, 20], example.annotation.joints[:, 21]
    assert bool(((left - who.joints[:, 20]).norm(dim=-1) < (left - who.joints[:, 21]).norm(dim=-1)).all())
    assert torch.isfinite(right).all() and "by the annotated joints" in persons.facts.body


def test_a_body_file_is_not_taken_for_that_of_its_labels(bodies, tmp_path):
    write_mpi_inf_3dhp(tmp_path, people(body_file(str(bodies))))
    with pytest.raises(InputError, match="its labels are of free, and the body file is of smpl"):
        opener("mpi-inf-3dhp")(tmp_path, "test", DatasetSetting(label_body=body_file(str(bodies))))


def test_metres_and_other_numbers_of_joints_are_told(bodies, tmp_path, caplog):
    def change(content):
        first, second = content["annotations"][:2]
        first["keypoints_cam"] = [[x / 1000 for x in point] for point in first["keypoints_cam"]]
        second["keypoints_cam"] = second["keypoints_cam"][:24]

    write_mpi_inf_3dhp(tmp_path, people(body_file(str(bodies))), change=change)
    assert len(opener("mpi-inf-3dhp")(tmp_path, "test", DatasetSetting())) == 2
    assert "are in metres, expected millimetres" in caplog.text and "(24, 3), expected (28, 3) or" in caplog.text
