import torch

from hmralign.data.synthetic.observation_noise import load_measured_noise
from hmralign.data.synthetic.poses import mirror
from hmralign.data.synthetic.reobserved import poses_of, reobserved
from hmralign.geometry.rotations import rotmat_angle
from support.synthetic_persons import BODY, persons, seeded

LABELLED = persons(12).annotation


def again(seed=0, count=30):
    return reobserved(BODY, LABELLED, "a" * 64, load_measured_noise(), count, seeded(seed))


def test_poses_are_those_of_the_labelled_persons():
    got = again()
    assert got.annotation is not None and len(got.observation.box) == 30
    for pose in got.annotation.body.body_pose:
        mirrored, _ = mirror(pose[None], torch.zeros(1, 3))  # the source draws no mirror images
        away = [rotmat_angle(p.expand_as(LABELLED.body.body_pose), LABELLED.body.body_pose) for p in (pose, mirrored)]
        assert away[0].amax(1).min() < 1e-3 and away[1].amax(1).min() > 1e-2


def test_somebody_upright_before_a_level_camera_has_up_where_the_photo_has_it():
    found = poses_of(LABELLED, "a" * 64)
    up_in_cam = (LABELLED.body.global_orient @ found.up_in_pelvis[..., None])[..., 0]
    torch.testing.assert_close(up_in_cam, torch.tensor([0.0, -1.0, 0.0]).expand(12, 3), atol=1e-5, rtol=0)


def test_cameras_and_what_is_seen_are_new_and_the_draw_is_seeded():
    a, b, other = again(), again(), again(1)
    assert torch.equal(a.observation.keypoints, b.observation.keypoints)
    assert not torch.equal(a.observation.keypoints, other.observation.keypoints)
    pairs = [t.expand(30, 12, 3, 3) for t in (a.annotation.body.global_orient[:, None], LABELLED.body.global_orient)]
    turned = rotmat_angle(*pairs)
    assert (turned.amin(1) > 0.05).float().mean() > 0.5
