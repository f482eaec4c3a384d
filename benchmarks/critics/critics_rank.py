"""How well each critic orders disturbed bodies around the truth; writes docs/results/critics_rank.{json,md}.

200 synthetic persons with noisy keypoints, clean and spoilt masks, groups of 12 hypotheses of two kinds: joints turned
at random (each hypothesis by another amount), and limbs mirrored in depth, which leaves the picture almost as it was.
Spearman correlation within each group between the critic's scores and minus the error, averaged over persons, and the
error of the critic's first choice.

    python benchmarks/critics/critics_rank.py [--persons 200]
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch
from scipy.stats import spearmanr
from torch.nn.functional import normalize

from hmralign.body.inverse_kinematics import joints_twists_to_pose, twists
from hmralign.body.lbs import posed_joints, rest_joints
from hmralign.body.model import BodyModel
from hmralign.body.skeleton import JOINT_NAMES, NUM_ALL_JOINTS, PARENTS
from hmralign.critics.controls import OracleCritic, RandomCritic
from hmralign.critics.critic import Critic, judge
from hmralign.critics.mix import MixCritic
from hmralign.critics.plausibility import PlausibilityCritic
from hmralign.critics.ranking import rank
from hmralign.critics.reprojection import ReprojectionCritic
from hmralign.critics.silhouette import SilhouetteCritic, crop_silhouettes
from hmralign.geometry.rotations import rotvec_to_rotmat
from hmralign.structures import BodyParams, Example, Hypotheses
from hmralign.systems.synth.masks import MaskNoise, spoil
from hmralign.training.base_configuration import BaseTrainingConfig
from hmralign.training.base_data import make_generator

RESULTS = Path(__file__).parents[2] / "docs" / "results"
GROUP_SIZE = 12
LARGEST_TURN = 0.5
FLIP_SHARE = 0.3
MASKS = {"clean": MaskNoise(grow=0, shrink=0, hide=0, intruder=0), "spoilt": MaskNoise()}
LIMBS = [JOINT_NAMES.index(f"{s}_{j}") for s in ("left", "right") for j in ("elbow", "wrist", "knee", "ankle")]


def with_masks(body: BodyModel, example: Example, noise: MaskNoise, generator: torch.Generator) -> Example:
    """Silhouettes of the true bodies in the crop, cut at the image border and spoilt by `noise`."""
    assert example.annotation is not None
    observation = example.observation
    image_size = 2 * observation.K[:, :2, 2] + 1  # synthetic cameras are centred
    seen = crop_silhouettes(body, example.annotation.body, observation.box, observation.K)
    masks = spoil(seen, example, example.annotation.joints, image_size, noise, generator)
    return replace(
        example, observation=replace(observation, mask=masks, has_mask=torch.ones(len(masks), dtype=torch.bool))
    )


def as_hypotheses(body: BodyModel, truth: BodyParams, rotmats: torch.Tensor) -> Hypotheses:
    n, m = rotmats.shape[:2]
    params = BodyParams(
        rotmats[..., 0, :, :],
        rotmats[..., 1:, :, :],
        truth.betas[:, None].expand(n, m, -1),
        truth.transl[:, None].expand(n, m, 3),
    )
    return Hypotheses(params, posed_joints(body, params))


def turned(body: BodyModel, truth: BodyParams, generator: torch.Generator) -> Hypotheses:
    """Every joint turned at random, by about 0 to 0.5 rad depending on the hypothesis."""
    n = truth.batch_shape[0]
    amount = LARGEST_TURN * torch.rand(n, GROUP_SIZE, 1, 1, generator=generator)
    turn = amount * torch.randn(n, GROUP_SIZE, 24, 3, generator=generator) / 3**0.5
    return as_hypotheses(body, truth, truth.rotmats[:, None] @ rotvec_to_rotmat(turn))


def mirrored_in_depth(body: BodyModel, truth: BodyParams, generator: torch.Generator) -> Hypotheses:
    """Some limb bones mirrored at the plane across the line of sight."""
    joints, n = posed_joints(body, truth), truth.batch_shape[0]
    sight = normalize(joints[:, 0], dim=-1)[:, None, None]
    parents = list(PARENTS[1:])
    bones = (joints[:, 1:] - joints[:, parents])[:, None].expand(n, GROUP_SIZE, NUM_ALL_JOINTS - 1, 3)
    flip = torch.zeros(n, GROUP_SIZE, NUM_ALL_JOINTS - 1, 1)
    limbs = [j - 1 for j in LIMBS]
    flip[:, :, limbs, 0] = (torch.rand(n, GROUP_SIZE, len(limbs), generator=generator) < FLIP_SHARE).float()
    bones = bones - 2 * flip * (bones * sight).sum(-1, keepdim=True) * sight
    moved = [joints[:, None, 0].expand(n, GROUP_SIZE, 3)]
    for j in range(1, NUM_ALL_JOINTS):
        moved.append(moved[PARENTS[j]] + bones[:, :, j - 1])
    rest = rest_joints(body, truth.betas)
    twist = twists(truth.body_pose, rest)[:, None].expand(n, GROUP_SIZE, -1, 2)
    shape = (n, GROUP_SIZE, NUM_ALL_JOINTS, 3)
    return as_hypotheses(body, truth, joints_twists_to_pose(torch.stack(moved, 2), twist, rest[:, None].expand(shape)))


def critics(body: BodyModel) -> list[Critic]:
    reprojection, silhouette, plausibility = ReprojectionCritic(body), SilhouetteCritic(body), PlausibilityCritic(body)
    mix = MixCritic([(reprojection, 1.0), (silhouette, 1.0), (plausibility, 0.3)])
    return [RandomCritic(torch.Generator().manual_seed(1)), reprojection, silhouette, plausibility, mix, OracleCritic()]


def measure(critic: Critic, group: Hypotheses, example: Example) -> dict[str, float | str]:
    start = time.process_time()
    scores = judge(critic, group, example)
    seconds = time.process_time() - start
    oracle = judge(OracleCritic(), group, example)
    usable = [i for i in range(len(scores)) if scores[i].unique().numel() > 1 and oracle[i].unique().numel() > 1]
    correlations = [float(spearmanr(scores[i], oracle[i]).statistic) for i in usable]  # type: ignore[attr-defined]
    chosen = -oracle.gather(1, rank(scores)[:, :1])
    return {
        "critic": critic.name,
        "spearman": sum(correlations) / len(correlations),
        "groups_with_an_order": len(usable),
        "selected_mpjpe_mm": 1000 * float(chosen.mean()),
        "ms_per_hypothesis": 1000 * seconds / scores.numel(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--persons", type=int, default=200)
    args = parser.parse_args()
    torch.set_num_threads(1)
    source = make_generator(BaseTrainingConfig(measured_noise=None))
    body, generator = source.model, torch.Generator().manual_seed(0)
    plain = source.sample(args.persons, generator)
    examples = {masks: with_masks(body, plain, noise, generator) for masks, noise in MASKS.items()}
    assert plain.annotation is not None
    truth = plain.annotation.body
    groups = {
        "joints turned": turned(body, truth, generator),
        "mirrored in depth": mirrored_in_depth(body, truth, generator),
    }
    rows = []
    for kind, group in groups.items():
        for masks, example in examples.items():
            looks_at_masks = ("silhouette", "mix")
            asked = [c for c in critics(body) if masks == "clean" or c.name in looks_at_masks]
            rows += [{"group": kind, "masks": masks, **measure(c, group, example)} for c in asked]
    write(rows, args.persons)


def write(rows: list[dict], persons: int) -> None:
    lines = [
        "# How well critics order hypotheses",
        "",
        f"Written by `benchmarks/critics/critics_rank.py`: {persons} synthetic persons (free body) with",
        "noisy keypoints,",
        f"{GROUP_SIZE} hypotheses each, disturbed around the truth. Spearman correlation with minus MPJPE within",
        "groups (over groups whose scores differ), MPJPE (24 joints, roots aligned) of the first choice, CPU time of",
        "one thread. Clean masks are the true silhouettes by the critic's own renderer; spoilt ones have grown or",
        "shrunk, lack hidden parts or hold somebody else's (`systems/synth/masks.py`). Hypotheses have the true shape",
        "and place: **this says what a critic can see, not how well it does on photos.** The random critic stands for",
        "picking any hypothesis.",
        "",
        "| group | masks | critic | Spearman | groups | selected MPJPE, mm | ms per hypothesis |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['group']} | {r['masks']} | {r['critic']} | {r['spearman']:.2f} | {r['groups_with_an_order']} "
        f"| {r['selected_mpjpe_mm']:.0f} | {r['ms_per_hypothesis']:.2f} |"
        for r in rows
    ]
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "critics_rank.json").write_text(json.dumps({"persons": persons, "rows": rows}, indent=1) + "\n")
    (RESULTS / "critics_rank.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
