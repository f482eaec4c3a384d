"""The colours of the exported scene say where the hypotheses disagree."""

import numpy as np
import pytest
import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.skeleton import JOINT_NAMES
from hmralign.geometry.rotations import axis_rotmat
from hmralign.rendering.colormap import magnitude_colors, srgb_to_linear
from hmralign.structures import BodyParams, InputError
from hmralign.systems.recover.exports import ExportedPerson, finished_photos, write_exports
from support.gltf_reader import GltfFile

BODY = load_free_body("3k5")


def _group(elbow_radians: float, place: float) -> ExportedPerson:
    """Two hypotheses that differ in the bend of the left elbow."""
    pose = torch.eye(3).repeat(2, 23, 1, 1)
    pose[1, JOINT_NAMES.index("left_elbow") - 1] = axis_rotmat("y", torch.tensor(elbow_radians))
    orient = torch.diag(torch.tensor([1.0, -1.0, -1.0])).expand(2, 3, 3)
    group = BodyParams(orient, pose, torch.zeros(2, 10), torch.tensor([[place, 0.0, 4.0]]).expand(2, 3))
    return ExportedPerson(group[0], group)


def test_colours_are_one_scale_for_all_and_bright_where_hypotheses_differ(tmp_path):
    people = [_group(0.2, 0.0), _group(0.8, 1.0)]
    write_exports(tmp_path, ["person_0", "person_1"], people, BODY, ["glb"])
    file = GltfFile((tmp_path / "scene_uncertainty.glb").read_bytes())
    high = file.gltf.asset.extras["vertex_colors_m"][1]
    forearm = BODY.weights[:, JOINT_NAMES.index("left_hand")].numpy() > 0.9
    trunk = BODY.weights[:, JOINT_NAMES.index("pelvis")].numpy() > 0.9
    brightness = []
    for mesh in file.gltf.meshes:
        colors = file.array(mesh.primitives[0].attributes.COLOR_0)[:, :3] / 65535
        dark = srgb_to_linear(magnitude_colors(np.zeros(1), high)[0])
        assert np.abs(colors[trunk] - dark).max() < 1e-3
        brightness.append(colors[forearm].sum(axis=1).mean())
    assert brightness[1] > brightness[0] > 1.5 * dark.sum()
    plain = GltfFile((tmp_path / "scene.glb").read_bytes())
    assert all(mesh.primitives[0].attributes.COLOR_0 is None for mesh in plain.gltf.meshes)
    first, second = (m.pbrMetallicRoughness.baseColorFactor for m in plain.gltf.materials)
    assert first != second and all(m.pbrMetallicRoughness.metallicFactor == 0 for m in plain.gltf.materials)


def test_a_folder_without_results_and_an_unknown_form_are_refused(tmp_path):
    with pytest.raises(InputError, match="no finished photo"):
        finished_photos(tmp_path)
    with pytest.raises(InputError, match="fbx"):
        write_exports(tmp_path, ["person_0"], [_group(0.1, 0.0)], BODY, ["fbx"])
    assert list(tmp_path.iterdir()) == []
