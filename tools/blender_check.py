"""Open exported files in Blender and compare its joints with forward kinematics: a check by hand, not in the tests.

    python tools/blender_check.py write FOLDER        in an environment with hmralign
    python tools/blender_check.py open FOLDER         in one with `pip install bpy` (Blender as a module, no window)

The first writes an animated GLB, a scene of two people and a BVH, with the joints of every frame; the second opens them
and prints the largest distance in millimetres. Blender's axes are z up: (x, y, z) of the files is (x, -z, y) there.
"""

import sys
from pathlib import Path

import numpy as np

FPS = 30.0
FILES = ("animated.glb", "scene.glb", "animated.bvh")


def write(folder: Path) -> None:
    import torch

    from hmralign.body.free_body import load_free_body
    from hmralign.body.lbs import posed_joints, vertices
    from hmralign.body.skeleton import JOINT_NAMES
    from hmralign.export.bvh import write_bvh
    from hmralign.export.motion import Motion
    from hmralign.export.skinned_glb import SkinnedPerson, write_skinned_glb
    from hmralign.geometry.rotations import random_rotmat, rotvec_to_rotmat

    body, generator = load_free_body("7k"), torch.Generator().manual_seed(0)
    steps = 0.2 * torch.randn((10, 24, 3), generator=generator)
    rotmats = rotvec_to_rotmat(steps.cumsum(0)) @ random_rotmat((24,), generator)
    transl = torch.tensor([0.3, -0.2, 4.0]) + 0.05 * torch.randn((10, 3), generator=generator).cumsum(0)
    motion = Motion(rotmats, transl, torch.randn(10, generator=generator), FPS)
    others = [Motion.of_body(motion.body[number]) for number in (0, 7)]
    folder.mkdir(parents=True, exist_ok=True)
    write_skinned_glb(folder / FILES[0], body, [SkinnedPerson(motion)])
    write_skinned_glb(folder / FILES[1], body, [SkinnedPerson(m, f"person_{i}") for i, m in enumerate(others)])
    write_bvh(folder / FILES[2], body, motion)
    joints, mesh = posed_joints(body, motion.body).numpy(), vertices(body, motion.body).numpy()
    np.savez(folder / "expected.npz", joints=joints * [1, -1, -1], mesh=mesh * [1, -1, -1], names=np.array(JOINT_NAMES))


def to_blender(points: np.ndarray) -> np.ndarray:
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], axis=-1)


def open_all(folder: Path) -> None:
    import bpy

    expected = np.load(folder / "expected.npz")
    names, joints, mesh = expected["names"].tolist(), to_blender(expected["joints"]), to_blender(expected["mesh"])

    def fresh() -> None:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        bpy.context.scene.render.fps = round(FPS)

    def heads(rig, prefix: str = "") -> np.ndarray:
        return np.array(
            [rig.matrix_world @ rig.pose.bones[prefix + n].head for n in names if prefix + n in rig.pose.bones]
        )

    def skinned(thing) -> np.ndarray:
        evaluated = thing.evaluated_get(bpy.context.evaluated_depsgraph_get())
        return np.array([evaluated.matrix_world @ v.co for v in evaluated.to_mesh().vertices])

    def report(what: str, found: np.ndarray, wanted: np.ndarray) -> None:
        print(f"{what}: {len(found)} points, off by at most {1e3 * np.abs(found - wanted).max():.4f} mm")

    fresh()
    bpy.ops.import_scene.gltf(filepath=str(folder / FILES[0]))
    rig = next(o for o in bpy.data.objects if o.type == "ARMATURE")
    thing = next(o for o in bpy.data.objects if o.type == "MESH" and o.find_armature() == rig)
    for frame in (0, 4, 9):
        bpy.context.scene.frame_set(frame)
        found = skinned(thing)
        report(f"{FILES[0]} frame {frame} joints", heads(rig), joints[frame])
        order = np.linalg.norm(found[:, None] - mesh[frame][None, ::97], axis=-1).min(axis=0)
        print(f"{FILES[0]} frame {frame} surface: every 97th vertex found within {1e3 * order.max():.4f} mm")
    fresh()
    bpy.ops.import_scene.gltf(filepath=str(folder / FILES[1]))
    rigs = [o for o in bpy.data.objects if o.type == "ARMATURE"]
    for number, frame in ((0, 0), (1, 7)):
        rig = next(r for r in rigs if f"person_{number}_pelvis" in r.pose.bones)
        report(f"{FILES[1]} person {number} joints", heads(rig, f"person_{number}_"), joints[frame])
    fresh()
    bpy.ops.import_anim.bvh(filepath=str(folder / FILES[2]), axis_forward="-Z", axis_up="Y")
    rig = next(o for o in bpy.data.objects if o.type == "ARMATURE")
    for frame in (0, 4, 9):
        bpy.context.scene.frame_set(frame + 1)  # frames of BVH begin at 1
        report(f"{FILES[2]} frame {frame} joints", heads(rig), joints[frame][:24])


if __name__ == "__main__":
    {"write": write, "open": open_all}[sys.argv[1]](Path(sys.argv[2]))
