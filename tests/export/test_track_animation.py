"""A followed person's files hold the joints of the track: at its own frames where they are even, in their axes."""

import bvhio
import numpy as np

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_joints
from hmralign.body.skeleton import JOINT_NAMES, NUM_JOINTS
from hmralign.export.track_animation import track_motion, write_track_animation
from hmralign.tracking.person_track import PersonTrack
from support.gltf_reader import GltfFile
from support.motions import example_motion, upright

BODY = load_free_body("3k5")
FRAMES, FPS = 5, 25.0
TENTH_MM = 1e-4


def track(first_second: float) -> PersonTrack:
    motion = example_motion(frames=FRAMES, seed=3, frame="cam")
    zeros = np.zeros(FRAMES)
    return PersonTrack(
        first=round(first_second * FPS), time=first_second + np.arange(FRAMES) / FPS,
        rotmats=motion.rotmats.numpy(), betas=motion.betas.numpy(), transl=motion.transl.numpy(),
        joints=posed_joints(BODY, motion.body).numpy(), spread=np.zeros((FRAMES, 29)), interpolated=zeros > 0,
        exchanged=zeros > 0, keypoints=np.zeros((FRAMES, 27, 3)), box=np.zeros((FRAMES, 4)), score=zeros,
        K=np.tile(np.eye(3), (FRAMES, 1, 1)), size=np.full((FRAMES, 2), 100),
    )  # fmt: skip


def test_every_form_poses_the_joints_of_the_track(tmp_path):
    person = track(2.0)
    files = write_track_animation(tmp_path, person, BODY, FPS, "person")
    assert [f.name for f in files] == ["motion.npz", "motion.bvh", "motion.glb"]
    wanted = upright(posed_joints(BODY, track_motion(person, FPS).body.map(lambda t: t.float()))).numpy()[
        :, :NUM_JOINTS
    ]
    assert np.abs(wanted[..., 0] - person.joints[:, :NUM_JOINTS, 0]).max() < TENTH_MM
    assert np.abs(wanted[..., 1:] + person.joints[:, :NUM_JOINTS, 1:]).max() < TENTH_MM
    glb = GltfFile((tmp_path / "motion.glb").read_bytes())
    bvh = bvhio.readAsHierarchy(str(tmp_path / "motion.bvh"))
    for frame in range(FRAMES):
        assert np.abs(glb.joints(0, 2.0 + frame / FPS)[:NUM_JOINTS] - wanted[frame]).max() < TENTH_MM
        places = {joint.Name: list(joint.PositionWorld) for joint, _, _ in bvh.loadPose(frame).layout()}
        assert np.abs([places[name] for name in JOINT_NAMES[:NUM_JOINTS]] - wanted[frame]).max() < TENTH_MM
    archive = np.load(tmp_path / "motion.npz", allow_pickle=False)
    assert float(archive["mocap_framerate"]) == FPS and archive["poses"].shape == (FRAMES, 156)
