"""Every adapter on a stand-in in its format: those who went in come out, in `cam`, in metres, sides unchanged."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from hmralign.adapters.persons import AdaptedPersons
from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_joints
from hmralign.data.dataset import DatasetSetting
from hmralign.data.names import PUBLISHED
from hmralign.geometry.cameras import project
from hmralign.structures import InputError
from support.published_datasets import STAND_INS, People, body_file, opener, people, same_shape, write_h36m


@dataclass(frozen=True)
class Case:
    """A format, who is written into it, and what of them it keeps."""

    dataset: str
    split: str = "test"
    joints: int = 24  # of the label's body
    one_shape: bool = False
    rows: tuple[int, ...] = (0, 1, 2, 3)  # persons that come back, in this order
    options: tuple[tuple[str, object], ...] = ()
    has_camera: bool = True
    exact: float = 2e-5  # metres by which a joint may be elsewhere

    @property
    def id(self) -> str:
        return "-".join([self.dataset, self.split, *(f"{k}={v}" for k, v in self.options)])


CASES = [
    Case("3dpw", one_shape=True, rows=(0, 1, 2)),
    Case("3dpw", "val", one_shape=True, rows=(0, 1, 2), options=(("split", "val"), ("gender", "f"))),
    Case("3dpw-json", rows=(3, 2, 1, 0)),
    Case("3dpw-json", "train", rows=(3, 2, 1, 0), options=(("split", "train"),)),
    Case("emdb", one_shape=True, rows=(0, 1, 2)),
    Case("h36m"),
    Case("h36m", "train", options=(("split", "train"), ("about_root", True))),
    Case("bedlam", "train", joints=55),
    Case("human-data", "toy"),
    Case("human-data", "toy_train", options=(("compressed", True),)),
    Case("human-data", "toy", joints=55, options=(("family", "smplx"), ("compressed", True))),
    Case("human-data", "toy", options=(("placed", False),), exact=2e-4),
    Case("human-data", "toy", options=(("placed", False), ("camera", False)), has_camera=False),
    Case("hybrik-json", "coco_train", exact=2e-4),
    Case("hybrik-json", "coco", options=(("about_root", False),)),
    Case("amass", "ACCAD", joints=52, one_shape=True, has_camera=False),
    Case("scorer-cache", "hi4d", joints=55, has_camera=False),
    Case("ehf", joints=55, exact=5e-4),
    Case("rich", joints=55, rows=(0, 0, 1, 1, 2, 2, 3, 3)),
]


@dataclass(frozen=True)
class Written:
    """A stand-in on disk, and the persons that it was written of."""

    case: Case
    who: People
    label_body: Path
    folder: Path

    def opened(self, **setting) -> AdaptedPersons:
        persons = opener(self.case.dataset)(self.folder, self.case.split, DatasetSetting(**setting))
        assert isinstance(persons, AdaptedPersons)
        return persons

    def as_annotated(self, **setting) -> AdaptedPersons:
        """On the body that the labels belong to."""
        return self.opened(label_body=self.label_body, body=self.who.body, **setting)

    def true(self) -> torch.Tensor:
        return self.who.joints[list(self.case.rows)]


def written(case: Case, folder: Path, bodies: Path) -> Written:
    label_body = body_file(str(bodies), case.joints)
    who = people(label_body)
    who = same_shape(who) if case.one_shape else who
    folder.mkdir(exist_ok=True)
    STAND_INS[case.dataset].write(folder, who, **dict(case.options))
    return Written(case, who, label_body, folder)


@pytest.fixture(scope="session")
def bodies(tmp_path_factory):
    return tmp_path_factory.mktemp("bodies")


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.id)
def there(request, tmp_path_factory, bodies):
    return written(request.param, tmp_path_factory.mktemp("data") / "set", bodies)


@pytest.fixture()
def h36m(tmp_path, bodies):
    return written(next(c for c in CASES if c.dataset == "h36m"), tmp_path / "h36m", bodies)


def test_persons_come_back_where_they_were(there):
    persons, case = there.as_annotated(), there.case
    example = persons.examples
    assert len(persons) == len(case.rows) and persons.faults.total == 0
    body, joints = example.annotation.body, example.annotation.joints
    true = there.who.params[list(case.rows)]
    assert torch.allclose(body.body_pose[:, :21], true.body_pose[:, :21], atol=5e-3 if case.dataset == "ehf" else 1e-5)
    assert torch.allclose(joints, posed_joints(there.who.body, body), atol=1e-5)
    atol = max(2e-5, case.exact) if case.dataset == "ehf" else 2e-5  # whose poses are found in meshes
    if case.has_camera:
        assert torch.allclose(joints[:, :22], there.true()[:, :22], atol=case.exact)
        assert bool(example.observation.knows_camera.all())
    relative, expected = joints - joints[:, :1], there.true() - there.true()[:, :1]
    assert torch.allclose(relative[:, :22], expected[:, :22], atol=atol)
    if case.dataset == "amass":  # whose camera is made up
        assert bool((joints[:, 0, 2] - 5).abs().max() < 0.5)
    facts = persons.facts
    assert facts.name == f"{case.dataset}/{case.split}" and "never run on a real file here" in facts.source


def test_labels_fall_on_the_points_of_the_file(there):
    persons, case = there.as_annotated(), there.case
    points = torch.from_numpy(persons.labels.points)
    marked, example = torch.isfinite(points).all(-1), persons.examples
    if case.dataset not in ("3dpw", "amass", "rich", "h36m", "ehf"):  # whose files have no joints in the image
        assert bool((marked.sum(1) >= 14).all())
        off = (project(example.annotation.joints, example.observation.K) - points).norm(dim=-1)
        assert float(off[marked].max()) < (0.2 if case.has_camera else 8)
    if case.dataset in ("3dpw", "human-data", "ehf"):
        assert bool((example.observation.confidence[:, :17] > 0).all())
        off = example.observation.keypoints[:, :17] - there.who.surface[list(case.rows)][:, :17]
        assert float(off.abs().max()) < 1e-3


def test_crops_are_of_the_right_photos(there):
    """Every photo has a red dot on each joint: crops of the labels' boxes show red where the joints are."""
    if there.case.dataset == "amass":
        with pytest.raises(InputError, match="amass has no photos"):
            there.as_annotated(crop_side=128)
        return
    example = there.as_annotated(crop_side=128).examples
    seen = example.observation
    assert seen.crop.shape == (len(there.case.rows), 3, 128, 128) and bool(seen.has_crop.all())
    side, middle = 1.25 * (seen.box[:, 2:] - seen.box[:, :2]).amax(-1), (seen.box[:, 2:] + seen.box[:, :2]) / 2
    if not there.case.has_camera:
        return  # the camera is guessed, so joints do not fall exactly on their dots
    pixels = project(example.annotation.joints[:, [4, 7, 15, 20]], seen.K)
    place = ((pixels - middle[:, None]) / side[:, None, None] * 128 + 63.5).round().long()
    inside = ((place >= 0) & (place < 128)).all(-1)
    assert int(inside.sum()) > 4
    for row, joint in inside.nonzero().tolist():
        x, y = place[row, joint].tolist()
        red, green, _ = seen.crop[row, :, y, x].tolist()
        assert red > green + 40, (row, joint)


LIMBS = [1, 2, 4, 5, 7, 8, 16, 17, 18, 19, 20, 21]


def test_labels_are_carried_over_to_the_free_body(there):
    """With the file of their body limb by limb; without it by the joints that the file has, if it has any."""
    persons = there.opened(label_body=there.label_body)
    example = persons.examples
    assert torch.equal(example.annotation.joints, posed_joints(load_free_body("3k5"), example.annotation.body))
    assert "carried over" in persons.facts.body and "carried over" in persons.facts.joints
    if there.case.has_camera:
        assert float((example.annotation.joints - there.true()).norm(dim=-1)[:, LIMBS].mean()) < 0.02
    if there.case.dataset == "ehf":
        with pytest.raises(InputError, match="expected the file of SMPL-X"):
            there.opened()
        return
    without = there.opened()
    assert "no file of" in without.facts.body
    if bool(np.isfinite(without.labels.joints[:, :24]).all()):
        assert float((without.examples.annotation.joints - there.true()).norm(dim=-1)[:, LIMBS].mean()) < 0.02


def test_every_published_adapter_is_tried_here():
    assert set(PUBLISHED) == set(STAND_INS)
    assert {case.dataset for case in CASES} == set(PUBLISHED) - {"mpi-inf-3dhp"}  # which has no body: its own file


def test_batches_are_parts_of_the_whole_and_the_hash_follows_every_column(h36m):
    persons = h36m.as_annotated()
    part = persons.batch(slice(1, 3))
    assert torch.allclose(part.annotation.joints, persons.examples.annotation.joints[1:3])
    assert persons.first(2).sha256 != persons.sha256 and len(persons.first(2)) == 2
    assert h36m.as_annotated(gender="neutral").sha256 != persons.sha256
    write_h36m(h36m.folder, h36m.who, change=lambda c: c["annotations"][0]["bbox"].__setitem__(0, 3.0))
    assert h36m.as_annotated().sha256 != persons.sha256


def test_the_box_of_published_evaluations_is_around_the_true_joints(h36m):
    box = h36m.as_annotated(crop="true_joints", crop_scale=1.2).examples.observation.box
    points = h36m.who.points[:, :24].numpy()
    side = 1.2 * (points.max(1) - points.min(1)).max(-1)
    assert np.allclose(1.25 * (box[:, 2] - box[:, 0]).numpy(), side, atol=1e-2)
    assert np.allclose((box[:, :2] + box[:, 2:]).numpy() / 2, (points.max(1) + points.min(1)) / 2, atol=1e-2)


def test_only_every_so_manieth_record_is_taken(h36m):
    persons = h36m.as_annotated(every=3)
    assert len(persons) == 2 and torch.allclose(persons.examples.annotation.joints, h36m.who.joints[::3], atol=2e-5)
