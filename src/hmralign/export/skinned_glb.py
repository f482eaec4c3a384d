"""People as skinned meshes in one binary glTF 2.0 file, still or moving: what engines and Blender open and re-pose.

    axes       y up, metres; of a motion in `cam` the camera is at the origin and looks along -z
    mesh       the T-pose of each person's own shape, normals, and colours at the vertices where they are given
    skeleton   the 24 joints and 5 leaves of `skeleton.JOINT_NAMES` as nodes; the root stands at the person's place
    weights    the four strongest joints of each vertex, renormalised; inverse bind matrices undo the T-pose
    animation  one clip "motion": rotations of all joints and translation of the root, interpolated linearly

Pose correctives (`posedirs`) are not linear in a skeleton. A still person has those of the pose baked into the mesh and
looks as recovered; a moving one goes without. The free body has none.

Source: Khronos glTF 2.0 specification, sec. 3.7.3 (skins), 3.11 (animations).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pygltflib
import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.body.model import BodyModel
from hmralign.body.skeleton import JOINT_NAMES, NUM_ALL_JOINTS, NUM_JOINTS
from hmralign.export.glb_container import GlbArrays
from hmralign.export.influences import strongest_influences
from hmralign.export.motion import Motion, shaped_joints
from hmralign.rendering.colormap import srgb_to_linear
from hmralign.rendering.shading import MANNEQUIN
from hmralign.storage.whole_file import write_whole
from hmralign.structures import InputError

_ROUGHNESS = 0.75


@dataclass(frozen=True)
class SkinnedPerson:
    """One person of a file; `color` and `vertex_colors` (which replaces it) are sRGB in [0, 1]."""

    motion: Motion
    name: str = "person"
    color: tuple[float, float, float] = MANNEQUIN
    vertex_colors: Float[np.ndarray, "vert 3"] | None = None
    start_s: float = 0.0
    """When the first frame of the motion is shown, in seconds from the beginning of the file."""


def write_skinned_glb(
    path: Path, model: BodyModel, people: Sequence[SkinnedPerson], extras: dict[str, Any] | None = None
) -> Path:
    """Write the file, whole or not at all; see `skinned_glb`."""
    return write_whole(path, skinned_glb(model, people, extras))


def skinned_glb(model: BodyModel, people: Sequence[SkinnedPerson], extras: dict[str, Any] | None = None) -> bytes:
    """All people as one file, each with a skeleton of its own; a motion of several frames becomes an animation.

    Nodes are named after the joints, of several people with the person's name before it ("person_0_left_hip"). `extras`
    are plain values that are kept in the file's header, for programs.

    Raises:
        InputError: nobody is given, two have the same name, or colours do not fit the mesh.
    """
    names = [person.name for person in people]
    if not people or len(set(names)) < len(names):
        raise InputError(f"skinned GLB: people are {names}, expected at least one and different names")
    arrays, scene = GlbArrays(), pygltflib.GLTF2(scene=0, scenes=[pygltflib.Scene(name="people", nodes=[])])
    scene.asset = pygltflib.Asset(generator="hmralign", extras=_about(model) | (extras or {}))
    joints, weights = strongest_influences(model.weights.cpu().double().numpy())
    shared = {
        "JOINTS_0": arrays.vertices(joints.astype(np.uint8)),
        "WEIGHTS_0": arrays.vertices(_exact_sums(weights)),
    }
    faces = arrays.faces(model.faces.cpu().numpy())
    for person in people:
        _add_person(scene, arrays, model, person, shared, faces, prefix=f"{person.name}_" if len(people) > 1 else "")
    return arrays.file(scene)


def _about(model: BodyModel) -> dict[str, Any]:
    return {
        "body": model.name,
        "skeleton_hash": model.skeleton_hash,
        "mesh_hash": model.mesh_hash,
        "axes": "x right, y up, z towards the viewer; metres",
    }


def _exact_sums(weights: np.ndarray) -> np.ndarray:
    """Single precision, the rounding of each row given to its strongest joint: engines expect sums of one."""
    rounded = weights.astype(np.float32)
    rounded[:, 0] = 1 - rounded[:, 1:].sum(axis=1)
    return rounded


def _add_person(
    scene: pygltflib.GLTF2,
    arrays: GlbArrays,
    model: BodyModel,
    person: SkinnedPerson,
    shared: dict[str, int],
    faces: int,
    prefix: str,
) -> None:
    """Append the person's material, mesh, skeleton, skin, and animation."""
    motion = person.motion.y_up(model)
    rest = shaped_joints(model, motion.betas).numpy()
    root = len(scene.nodes)
    scene.nodes += _joint_nodes(model.parents, motion, rest, root, prefix)
    bind = np.tile(np.eye(4, dtype=np.float32), (NUM_ALL_JOINTS, 1, 1))
    bind[:, :3, 3] = -rest
    scene.skins.append(
        pygltflib.Skin(
            name=person.name,
            inverseBindMatrices=arrays.values(bind),
            skeleton=root,
            joints=list(range(root, root + NUM_ALL_JOINTS)),
        )
    )
    scene.materials.append(_material(person))
    scene.meshes.append(_mesh(arrays, model, person, motion, shared, faces, material=len(scene.materials) - 1))
    body = pygltflib.Node(name=f"{prefix}body", mesh=len(scene.meshes) - 1, skin=len(scene.skins) - 1)
    scene.nodes.append(body)
    # A skinned mesh is moved by its joints alone: as a root nothing else seems to move it.
    scene.scenes[0].nodes = [*(scene.scenes[0].nodes or ()), root, len(scene.nodes) - 1]
    if motion.num_frames > 1:
        if not scene.animations:
            scene.animations.append(pygltflib.Animation(name="motion"))
        _animate(scene.animations[0], arrays, motion, rest, root, person.start_s)


def _joint_nodes(
    parents: tuple[int, ...], motion: Motion, rest: np.ndarray, root: int, prefix: str
) -> list[pygltflib.Node]:
    """The 29 joints, posed as in the first frame; their numbers in the file begin at `root`."""
    quats = _quats_xyzw(motion.rotmats[0])
    place = motion.transl[0].numpy() + rest[0]
    nodes = []
    for joint, parent in enumerate(parents):
        children = [root + child for child, above in enumerate(parents) if above == joint]
        offset = place if joint == 0 else rest[joint] - rest[parent]
        node = pygltflib.Node(name=prefix + JOINT_NAMES[joint], translation=offset.tolist(), children=children)
        if joint < NUM_JOINTS:
            node.rotation = quats[joint].tolist()
        nodes.append(node)
    return nodes


def _material(person: SkinnedPerson) -> pygltflib.Material:
    """A matt surface; colours at the vertices are multiplied by its own, which is then white."""
    base = (1.0, 1.0, 1.0) if person.vertex_colors is not None else person.color
    linear = [float(c) for c in srgb_to_linear(np.array(base))]
    surface = pygltflib.PbrMetallicRoughness(
        baseColorFactor=[*linear, 1.0], metallicFactor=0.0, roughnessFactor=_ROUGHNESS
    )
    return pygltflib.Material(
        name=person.name, pbrMetallicRoughness=surface, alphaMode=pygltflib.OPAQUE, alphaCutoff=None
    )


def _mesh(
    arrays: GlbArrays,
    model: BodyModel,
    person: SkinnedPerson,
    motion: Motion,
    shared: dict[str, int],
    faces: int,
    material: int,
) -> pygltflib.Mesh:
    vertices = bind_vertices(model, motion)
    accessors = {
        "POSITION": arrays.vertices(vertices.astype(np.float32)),
        "NORMAL": arrays.vertices(_unit_normals(vertices, model.faces.cpu().numpy())),
        **shared,
    }
    if person.vertex_colors is not None:
        accessors["COLOR_0"] = arrays.vertices(_vertex_colors(person, len(vertices)), normalized=True)
    primitive = pygltflib.Primitive(attributes=pygltflib.Attributes(**accessors), indices=faces, material=material)
    return pygltflib.Mesh(name=person.name, primitives=[primitive])


def bind_vertices(model: BodyModel, motion: Motion) -> Float[np.ndarray, "vert 3"]:
    """The mesh that is skinned, in T-pose, metres: the person's shape, and of a still person its pose correctives."""
    model = model.to("cpu").to(torch.float64)
    betas = motion.betas.cpu().double()
    shaped = model.v_template + model.shapedirs @ betas
    if model.posedirs is not None and motion.num_frames == 1:
        feature = (motion.rotmats[0, 1:].cpu().double() - torch.eye(3, dtype=torch.float64)).flatten()
        shaped = shaped + model.posedirs @ feature
    return shaped.numpy()


def _unit_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    import trimesh

    normals = np.array(trimesh.Trimesh(vertices, faces, process=False).vertex_normals)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    # A vertex without a face has no normal, and glTF has no place for that.
    unit = np.where(length > 1e-6, normals / np.maximum(length, 1e-6), (0.0, 1.0, 0.0))
    return unit.astype(np.float32)


def _vertex_colors(person: SkinnedPerson, num_vertices: int) -> np.ndarray:
    """Linear RGBA of 16 bits."""
    colors = np.asarray(person.vertex_colors, np.float64)
    if colors.shape != (num_vertices, 3) or not np.isfinite(colors).all():
        raise InputError(
            f"skinned GLB: vertex colours of {person.name!r} have shape {colors.shape}, "
            f"expected finite ({num_vertices}, 3)"
        )
    linear = np.concatenate([srgb_to_linear(colors), np.ones((num_vertices, 1))], axis=1)
    return np.rint(linear * (2**16 - 1)).astype(np.uint16)


def _animate(
    clip: pygltflib.Animation, arrays: GlbArrays, motion: Motion, rest: np.ndarray, root: int, start_s: float
) -> None:
    """Channels of one person: where the root is, and how each joint is turned."""
    times = arrays.values((start_s + np.arange(motion.num_frames) / motion.fps).astype(np.float32))
    places = arrays.values((motion.transl.numpy() + rest[0]).astype(np.float32))
    _add_channel(clip, times, places, root, "translation")
    quats = continuous_quats(_quats_xyzw(motion.rotmats))
    for joint in range(NUM_JOINTS):
        _add_channel(clip, times, arrays.values(quats[:, joint].astype(np.float32)), root + joint, "rotation")


def _add_channel(clip: pygltflib.Animation, times: int, values: int, node: int, path: str) -> None:
    clip.samplers.append(pygltflib.AnimationSampler(input=times, output=values, interpolation=pygltflib.ANIM_LINEAR))
    target = pygltflib.AnimationChannelTarget(node=node, path=path)
    clip.channels.append(pygltflib.AnimationChannel(sampler=len(clip.samplers) - 1, target=target))


def _quats_xyzw(rotmats: Float[Tensor, "*batch 3 3"]) -> Float[np.ndarray, "*batch 4"]:
    import roma  # with it comes torch's compiler, see `geometry.rotations`

    quats = roma.rotmat_to_unitquat(rotmats)
    assert isinstance(quats, Tensor)
    return (quats / quats.norm(dim=-1, keepdim=True)).numpy()


def continuous_quats(quats: Float[np.ndarray, "frames joints 4"]) -> Float[np.ndarray, "frames joints 4"]:
    """Signs so that each is near the one before: q and -q are the same rotation, and this is the short way."""
    turned = (quats[1:] * quats[:-1]).sum(axis=-1, keepdims=True) < 0
    signs = np.cumprod(np.where(turned, -1.0, 1.0), axis=0)
    return np.concatenate([quats[:1], quats[1:] * signs])
