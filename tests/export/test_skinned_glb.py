"""A skinned GLB, read back: joints are our forward kinematics, skinned vertices our LBS, and the file is valid glTF."""

import dataclasses
import json

import numpy as np
import pytest
import torch
import trimesh

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_joints, vertices
from hmralign.export.influences import dense_weights, strongest_influences
from hmralign.export.motion import Motion
from hmralign.export.skinned_glb import SkinnedPerson, continuous_quats, skinned_glb, write_skinned_glb
from hmralign.rendering.colormap import srgb_to_linear
from hmralign.structures import InputError
from support.gltf_reader import GltfFile
from support.gltf_validator import validator_report
from support.motions import example_motion, upright
from support.toy_body import toy_body

TENTH_MM = 1e-4
BODY = load_free_body("3k5")


def _four_influences(model):
    joints, weights = strongest_influences(model.weights.double().numpy())
    return dataclasses.replace(model, weights=torch.tensor(dense_weights(joints, weights, 24)).to(model.weights))


def _still(seed: int = 0, frame="cam") -> Motion:
    return example_motion(frames=1, seed=seed, frame=frame)


def test_trimesh_finds_the_joints_of_everybody_where_forward_kinematics_has_them():
    people = [SkinnedPerson(_still(seed), f"person_{seed}") for seed in range(3)]
    file = GltfFile(skinned_glb(BODY, people))
    assert len(file.gltf.skins) == 3 and len(file.scene.geometry) == 3
    for skin, person in zip(file.gltf.skins, people, strict=True):
        found = np.stack([file.posed_by_trimesh(joint)[:3, 3] for joint in skin.joints])
        expected = upright(posed_joints(BODY, person.motion.body)[0]).numpy()
        assert np.abs(found - expected).max() < TENTH_MM


@pytest.mark.parametrize("frame", ["cam", "y_up"])
def test_skinned_vertices_are_those_of_our_lbs(frame):
    motion = _still(3, frame)
    file = GltfFile(skinned_glb(BODY, [SkinnedPerson(motion)]))
    expected = vertices(BODY, motion.body)[0]
    expected = (upright(expected) if frame == "cam" else expected).numpy()
    # The free body has no more than four influences, so this is the full LBS.
    assert np.abs(file.skinned(0) - expected).max() < TENTH_MM


def test_every_frame_of_an_animation_is_the_pose_of_that_frame():
    motion = example_motion(frames=5, seed=1, fps=25.0)
    file = GltfFile(skinned_glb(BODY, [SkinnedPerson(motion, start_s=2.0)]))
    joints, mesh = upright(posed_joints(BODY, motion.body)).numpy(), upright(vertices(BODY, motion.body)).numpy()
    assert np.abs(file.joints(0) - joints[0]).max() < TENTH_MM  # without the animation: the first frame
    for number in range(5):
        time = 2.0 + number / 25
        assert np.abs(file.joints(0, time) - joints[number]).max() < TENTH_MM
        assert np.abs(file.skinned(0, time) - mesh[number]).max() < TENTH_MM
    times = file.array(file.gltf.animations[0].samplers[0].input)[:, 0]
    assert np.allclose(times, 2.0 + np.arange(5) / 25)
    assert file.gltf.nodes[file.gltf.skins[0].joints[1]].name == "left_hip"


def test_a_body_of_many_influences_is_moved_by_its_four_strongest_which_is_not_quite_the_same():
    model, motion = toy_body(dtype=torch.float32, posedirs=False), _still(5)
    found = GltfFile(skinned_glb(model, [SkinnedPerson(motion)])).skinned(0)
    four = upright(vertices(_four_influences(model), motion.body)[0]).numpy()
    full = upright(vertices(model, motion.body)[0]).numpy()
    assert np.abs(found - four).max() < TENTH_MM
    assert np.linalg.norm(four - full, axis=1).max() > 1e-3


def test_pose_correctives_are_baked_into_a_still_person_and_left_out_of_a_moving_one():
    model = _four_influences(toy_body(dtype=torch.float32))
    still, moving = _still(2), example_motion(frames=2, seed=2)
    found = GltfFile(skinned_glb(model, [SkinnedPerson(still)])).skinned(0)
    assert np.abs(found - upright(vertices(model, still.body)[0]).numpy()).max() < TENTH_MM
    plain = dataclasses.replace(model, posedirs=None)
    found = GltfFile(skinned_glb(model, [SkinnedPerson(moving)])).skinned(0, 0.0)
    assert np.abs(found - upright(vertices(plain, moving.body)[0]).numpy()).max() < TENTH_MM


def test_the_validator_of_khronos_finds_nothing_to_say(tmp_path):
    colors = np.random.default_rng(0).random((BODY.num_vertices, 3))
    people = [
        SkinnedPerson(example_motion(frames=3, seed=0), "person_0"),
        SkinnedPerson(_still(1), "person_1", vertex_colors=colors),
    ]
    report = validator_report(write_skinned_glb(tmp_path / "people.glb", BODY, people, {"note": "x"}))
    assert report["issues"]["messages"] == []
    assert report["info"]["totalVertexCount"] == 2 * BODY.num_vertices and report["info"]["animationCount"] == 1


def test_colours_become_linear_and_normals_are_unit_vectors_that_point_outwards():
    colors = np.full((BODY.num_vertices, 3), 0.5)
    file = GltfFile(skinned_glb(BODY, [SkinnedPerson(_still(), vertex_colors=colors, color=(1.0, 0.0, 0.0))]))
    parts = file.gltf.meshes[0].primitives[0].attributes
    assert np.allclose(file.array(parts.COLOR_0)[:, :3] / 65535, 0.21404, atol=1e-4)
    assert file.gltf.materials[0].pbrMetallicRoughness.baseColorFactor == [1.0, 1.0, 1.0, 1.0]
    normals, points = file.array(parts.NORMAL), file.array(parts.POSITION)
    assert np.allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    body, blown_up = (trimesh.Trimesh(points + by * normals, BODY.faces.numpy(), process=False) for by in (0, 1e-3))
    assert blown_up.volume - body.volume == pytest.approx(1e-3 * body.area, rel=0.05)
    plain = GltfFile(skinned_glb(BODY, [SkinnedPerson(_still(), color=(1.0, 0.5, 0.0))]))
    factor = plain.gltf.materials[0].pbrMetallicRoughness.baseColorFactor
    assert np.allclose(factor, [1.0, 0.21404, 0.0, 1.0], atol=1e-4)
    assert np.allclose(srgb_to_linear(np.array([0.0, 0.04, 1.0])), [0.0, 0.04 / 12.92, 1.0])


def test_quaternions_never_jump_to_their_negative():
    quats = np.random.default_rng(0).normal(size=(1, 3, 4)).repeat(6, axis=0)
    quats /= np.linalg.norm(quats, axis=-1, keepdims=True)
    signs = np.array([1, -1, -1, 1, -1, 1])[:, None, None]
    assert np.array_equal(continuous_quats(quats * signs), quats)


def test_influences_are_the_strongest_and_sum_to_one():
    weights = np.array([[0.1, 0.2, 0.3, 0.25, 0.15], [0.0, 0.0, 1.0, 0.0, 0.0]])
    joints, kept = strongest_influences(weights)
    assert joints.tolist() == [[2, 3, 1, 4], [2, 0, 0, 0]]
    assert np.allclose(kept, [[0.3 / 0.9, 0.25 / 0.9, 0.2 / 0.9, 0.15 / 0.9], [1, 0, 0, 0]])
    assert np.allclose(dense_weights(joints, kept, 5)[1], weights[1])


def test_the_header_says_what_the_file_is():
    content = skinned_glb(BODY, [SkinnedPerson(_still())], {"uncertainty_m": [0, 0.1]})
    header = json.loads(content[20 : 20 + int.from_bytes(content[12:16], "little")])
    extras = header["asset"]["extras"]
    assert extras["mesh_hash"] == BODY.mesh_hash and extras["uncertainty_m"] == [0, 0.1] and "y up" in extras["axes"]


def test_wrong_input_is_named(tmp_path):
    person = SkinnedPerson(_still())
    for people in ([], [person, person]):
        with pytest.raises(InputError, match="different names"):
            write_skinned_glb(tmp_path / "x.glb", BODY, people)
    bad = dataclasses.replace(person, vertex_colors=np.full((BODY.num_vertices, 3), np.nan))
    with pytest.raises(InputError, match="vertex colours of 'person'"):
        skinned_glb(BODY, [bad])
    assert list(tmp_path.iterdir()) == []
