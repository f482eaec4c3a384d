import numpy as np
import pytest
import torch

from hmralign.data.pose_file import load_pose_file
from hmralign.data.pose_selection import PoseSelectionConfig
from hmralign.structures import InputError
from hmralign.systems.multiview_data.poses import PoseSetConfig, build_pose_set
from support.shared_data import require_shared
from support.synthetic_persons import seeded


def motion_x(path, frames, seed):
    array = np.zeros((frames, 322), np.float32)
    array[:, :66] = 0.2 * torch.randn(frames, 66, generator=seeded(seed)).cumsum(0).clamp(-9, 9).numpy()
    np.save(path, array)


def test_a_pose_set_is_a_pose_file_and_the_same_again(tmp_path):
    (tmp_path / "in").mkdir()
    for clip in range(3):
        motion_x(tmp_path / f"in/{clip}.npy", 20, clip)
    config = PoseSetConfig(as_split="val", selection=PoseSelectionConfig(centres=6, neighbours=2, seed=3))
    report = build_pose_set(config, [tmp_path / "in"], tmp_path / "out")
    again = build_pose_set(config, [tmp_path / "in"], tmp_path / "again")
    assert report == again
    assert (tmp_path / "out/poses.npz").read_bytes() == (tmp_path / "again/poses.npz").read_bytes()
    poses = load_pose_file(tmp_path / "out/poses.npz", "val")
    assert len(poses.rotvecs) == report["poses"] <= 18 and report["centres"] == 6
    assert report["diversity"]["centres"]["joint_sd_mm"] > 0 and len(report["sources"]) == 3
    page = (tmp_path / "out/diversity.md").read_text()
    assert f"{report['joint_sd_ratio']} of the source's" in page and "as many at random" in page


def test_a_set_without_diversity_is_refused(tmp_path):
    motion_x(tmp_path / "a.npy", 4, 0)
    with pytest.raises(InputError, match="no diversity"):
        build_pose_set(PoseSetConfig(selection=PoseSelectionConfig(centres=2, neighbours=0)), [tmp_path], tmp_path)


@pytest.mark.assets
def test_farthest_poses_of_real_motion_cover_it_better_than_chance(tmp_path):
    source = require_shared("poses/cmu_smpl24_poses.npz")
    config = PoseSetConfig(split="test", selection=PoseSelectionConfig(centres=60, aligned="root"))
    report = build_pose_set(config, [source], tmp_path)
    cover = report["cover_mm"]
    assert cover["centres"]["largest"] < 0.7 * cover["as many at random"]["largest"]
    assert (
        report["diversity"]["centres"]["nearest_median_mm"]
        > 1.5 * (report["diversity"]["as many at random"]["nearest_median_mm"])
    )
