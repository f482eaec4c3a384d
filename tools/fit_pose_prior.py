"""Fit the two shipped pose priors on a motion-capture pose file (see `hmralign.data.pose_file` for the format).

    python tools/fit_pose_prior.py POSES.npz

`train` is fitted on the training split, `heldout` on the test split, whose clips the first one never saw. Each pose
is used twice, as it is and mirrored. Needs scikit-learn (extra `build`).
"""

import argparse
import json
from pathlib import Path

import numpy as np
from sklearn.mixture import GaussianMixture

from hmralign.body.skeleton import MIRROR_JOINTS, NUM_JOINTS
from hmralign.data.pose_file import load_pose_file
from hmralign.data.synthetic.pose_prior import to_features

ASSETS = Path(__file__).parents[1] / "src/hmralign/data/synthetic/assets"
PROVENANCE = (
    "Statistics of poses from the CMU Graphics Lab Motion Capture Database, retargeted to 24 joints. The data used in "
    "this project was obtained from mocap.cs.cmu.edu. The database was created with funding from NSF EIA-0196217."
)


def mirrored(rotvecs: np.ndarray, up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reflect in x: swap sides, keep the x component of each axis, flip the others."""
    return rotvecs[:, MIRROR_JOINTS[:NUM_JOINTS]] * np.float32([1, -1, -1]), up * np.float32([-1, 1, 1])


def fit(path: Path, split: str, components: int, seed: int) -> dict:
    poses = load_pose_file(path, split)
    rotvecs, up = poses.rotvecs.numpy(), poses.up_in_pelvis.numpy()
    both = [to_features(r, u) for r, u in ((rotvecs, up), mirrored(rotvecs, up))]
    features = np.concatenate(both).astype(np.float64)
    mixture = GaussianMixture(components, reg_covar=1e-3, random_state=seed, max_iter=200).fit(features)
    tril = np.tril_indices(features.shape[1])
    cholesky = np.linalg.cholesky(mixture.covariances_)
    return {
        "format_version": np.int64(1),
        "weights": mixture.weights_.astype(np.float32),
        "means": mixture.means_.astype(np.float32),
        "cholesky_tril": cholesky[:, tril[0], tril[1]].astype(np.float16),
        "provenance": np.array(PROVENANCE),
        "source_sha256": np.array(poses.sha256),
        "settings": np.array(
            json.dumps({"split": split, "poses": len(features), "components": components, "seed": seed})
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("poses", type=Path)
    parser.add_argument("--components", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    ASSETS.mkdir(exist_ok=True)
    for name, split in (("train", "train"), ("heldout", "test")):
        arrays = fit(args.poses, split, args.components if name == "train" else args.components // 2, args.seed)
        np.savez_compressed(ASSETS / f"pose_prior_{name}.npz", **arrays)
        print(name, str(arrays["settings"]), (ASSETS / f"pose_prior_{name}.npz").stat().st_size, "bytes")


if __name__ == "__main__":
    main()
