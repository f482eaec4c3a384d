"""Measure how often each family of statements holds, which is what the captioner calls trivial or telling.

    python tools/measure_statements.py [POSES.npz] [--bodies N] [--seed S]

Bodies are drawn as training draws them: poses of the shipped prior, typed postures and, where a pose file is named,
its training split; any view. The file of frequencies is written, and a table printed: all bodies, and those of the pose
file as they are (they have no view but a level one).
"""

import argparse
import json
from pathlib import Path

import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_joints
from hmralign.body.skeleton import NUM_JOINTS
from hmralign.data.pose_file import PoseSet, load_pose_file
from hmralign.data.synthetic.pose_prior import load_pose_prior
from hmralign.data.synthetic.poses import PoseMix, PoseSource
from hmralign.data.synthetic.views import ViewMix, sample_views
from hmralign.language.agreement import holds
from hmralign.language.statements import FAMILIES, STATEMENTS
from hmralign.structures import BodyParams

ASSET = Path(__file__).parents[1] / "src/hmralign/language/assets/frequencies.json"
FEWEST = 1e-4
"""Shares are not written smaller than this: nobody was seen, which is no proof that there is nobody."""


def shares(source: PoseSource, views: ViewMix, bodies: int, generator: torch.Generator) -> dict[str, float]:
    """Share of bodies and sides for which each family holds."""
    pose, up = source.sample(bodies, generator)
    seen = sample_views(up, views, generator)
    betas = torch.randn(bodies, 10, generator=generator)
    body = BodyParams(seen.global_orient, pose, betas, seen.transl)
    joints = posed_joints(load_free_body("3k5"), body)[:, :NUM_JOINTS]
    found = holds(joints, body.rotmats, (seen.global_orient @ up[..., None])[..., 0]).float().mean(0)
    sides: dict[str, list[float]] = {family: [] for family in FAMILIES}
    for statement, share in zip(STATEMENTS, found.tolist(), strict=True):
        sides[statement.family].append(share)
    return {family: sum(both) / len(both) for family, both in sides.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("poses", type=Path, nargs="?")
    parser.add_argument("--bodies", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    poses: PoseSet | None = load_pose_file(args.poses, "train") if args.poses else None
    generator = torch.Generator().manual_seed(args.seed)
    drawn = shares(PoseSource(load_pose_prior(), poses=poses), ViewMix(), args.bodies, generator)
    plain = PoseMix(0.0, 1.0, 0.5, 0.0, 0.0, 0.0, 0.0, False)
    level = ViewMix(pitch_sd=0.0, steep_share=0.0, roll_sd=0.0)
    real = shares(PoseSource(load_pose_prior(), plain, poses), level, args.bodies, generator) if poses else {}
    for family in FAMILIES:
        print(f"{family:32}{drawn[family]:8.4f}{real.get(family, float('nan')):8.4f}")
    record = {
        "format_version": 1,
        "bodies": args.bodies,
        "seed": args.seed,
        "poses_sha256": poses.sha256 if poses else None,
        "frequencies": {family: round(max(share, FEWEST), 4) for family, share in drawn.items()},
    }
    ASSET.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
