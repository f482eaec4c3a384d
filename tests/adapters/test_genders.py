"""Labels pose the body of each person's gender where its file is there; files of a folder are told by their names."""

import shutil

import pytest
import torch

from hmralign.adapters.bodies import LabelBodies
from hmralign.body.body_file import load_body
from hmralign.data.dataset import DatasetSetting
from hmralign.structures import InputError
from support.published_datasets import body_file, opener, people, same_shape, write_3dpw

SIZES = {"NEUTRAL": 1.0, "MALE": 1.06, "FEMALE": 0.94}


@pytest.fixture(scope="module")
def smpl(tmp_path_factory):
    folder = tmp_path_factory.mktemp("smpl")
    for gender, scale in SIZES.items():
        body_file(str(folder), 24, scale, f"SMPL_{gender}")
    (folder / "readme.npz").write_bytes(b"no body, and named so")
    return folder


@pytest.mark.parametrize(("letter", "gender"), [("m", "MALE"), ("f", "FEMALE")])
def test_each_gender_has_its_body(letter, gender, smpl, tmp_path):
    who = same_shape(people(smpl / f"SMPL_{gender}.npz"))
    write_3dpw(tmp_path, who, gender=letter)
    neutral = load_body(smpl / "SMPL_NEUTRAL.npz")
    persons = opener("3dpw")(tmp_path, "test", DatasetSetting(label_body=smpl, body=neutral))
    annotation = persons.examples.annotation
    assert torch.allclose(annotation.joints, who.joints[:3], atol=2e-5)  # of the own gender, as evaluations have them
    assert torch.allclose(annotation.body.body_pose, who.params.body_pose[:3], atol=1e-5)
    assert "male SMPL_MALE" in persons.facts.body and "carried over to SMPL_NEUTRAL" in persons.facts.body

    neutral_for_all = opener("3dpw")(tmp_path, "test", DatasetSetting(label_body=smpl, body=neutral, gender="neutral"))
    found = neutral_for_all.examples.annotation
    assert torch.equal(found.body.betas, who.params.betas[:3]) and "neutral for all" in neutral_for_all.facts.body
    size = (found.joints[:, 15] - found.joints[:, 7]).norm(dim=-1) / (who.joints[:3, 15] - who.joints[:3, 7]).norm(
        dim=-1
    )
    assert torch.allclose(size, torch.tensor(1 / SIZES[gender]), atol=0.01)


def test_a_gender_without_a_file_has_the_neutral_body(smpl, tmp_path):
    shutil.copy(smpl / "SMPL_NEUTRAL.npz", tmp_path / "basicmodel_neutral_lbs_10_207_0_v1.1.0.npz")
    bodies = LabelBodies.open(tmp_path)
    assert bodies.of("male") is bodies.of("neutral") and bodies.family == "smpl"
    shutil.copy(smpl / "SMPL_MALE.npz", tmp_path / "basicmodel_m_lbs_10_207_0_v1.1.0.npz")
    assert LabelBodies.open(tmp_path).of("male") is not LabelBodies.open(tmp_path).of("neutral")


def test_folders_that_do_not_say_which_body_is_whose_are_refused(smpl, tmp_path):
    with pytest.raises(InputError, match="holds no body file"):
        LabelBodies.open(tmp_path)
    shutil.copy(smpl / "SMPL_MALE.npz", tmp_path / "a_male.npz")
    shutil.copy(smpl / "SMPL_MALE.npz", tmp_path / "b_male.npz")
    with pytest.raises(InputError, match=r"has two male bodies, a_male\.npz and b_male\.npz"):
        LabelBodies.open(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        LabelBodies.open(tmp_path / "none.npz")
    (tmp_path / "b_male.npz").unlink()
    shutil.copy(body_file(str(tmp_path), 55, 1.0, "x_neutral"), tmp_path / "SMPLX_female.npz")
    with pytest.raises(InputError, match="holds bodies of several families"):
        LabelBodies.open(tmp_path)
