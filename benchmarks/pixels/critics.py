"""Do critics that see pixels order hypotheses better? Ranks within groups, and limbs flipped in depth.

    hmralign bench --out runs/synthwild --splits wild/val
    python benchmarks/pixels/critics.py --data runs/synthwild --checkpoint pixel [--scorer NAME=FILE ...]

On the first persons of wild/val with pictures: the model's own samples, ranked by each critic against their errors
(Spearman within each group, on average over persons); and pairs of the true body and the same with the limb that moves
most mirrored in depth, of which a critic should like the true one better. Critics that look at pixels have a second
row with the next person's picture. Writes docs/results/pixel_critics.{json,md}.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from scipy.stats import rankdata

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_joints
from hmralign.critics.catalogue import make_critic
from hmralign.critics.critic import Critic, judge
from hmralign.critics.learned_scorer import ScorerCritic
from hmralign.critics.limb_tilt import LimbTiltCritic
from hmralign.data.dataset import open_dataset
from hmralign.data.synthetic.label_noise import LabelNoise, noisy_bodies
from hmralign.fitting.detector_noise import noise_of
from hmralign.metrics.intervals import bootstrap_mean
from hmralign.metrics.joint_errors import mpjpe
from hmralign.models.checkpoint import checkpoint_hash
from hmralign.models.pixel.checkpoint import load_pixel
from hmralign.models.scorer_checkpoint import load_scorer
from hmralign.policies.catalogue import open_policy
from hmralign.policies.policy import sample_each
from hmralign.reports.markdown_table import markdown_table
from hmralign.storage.seeds import seeded
from hmralign.structures import BodyParams, Example, Hypotheses

ROOT = Path(__file__).resolve().parents[2]
BY_KEYPOINTS = ("random", "reprojection", "plausibility", "consistency", "scorer")


TOGETHER = (("scorer", "limb-tilt"), ("consistency", "limb-tilt"), ("scorer", "consistency"))
"""Pairs of critics whose scores are also added."""


@dataclass(frozen=True)
class Together:
    """Two critics' scores, each in standard deviations of the group."""

    first: Critic
    second: Critic
    name = "together"
    needs_truth = False

    def __call__(self, hypotheses: Hypotheses, example: Example) -> torch.Tensor:
        """Sum of both."""
        scores = [judge(critic, hypotheses, example) for critic in (self.first, self.second)]
        apart = [(s - s.mean(1, keepdim=True)) / s.std(1, keepdim=True).clamp(min=1e-9) for s in scores]
        return apart[0] + apart[1]


def spearman(scores: torch.Tensor, errors: torch.Tensor) -> torch.Tensor:
    """Rank correlation of scores with minus errors in each group; 0 for a silent group."""
    a, b = (torch.tensor(rankdata(x.numpy(), axis=1)) for x in (scores, -errors))
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp(min=1e-12)


@torch.no_grad()
def samples(checkpoint: str, example: Example, size: int) -> tuple[Hypotheses, torch.Tensor]:
    """The model's own hypotheses as they are, and their errors in metres."""
    policy, groups = open_policy(checkpoint, load_free_body("3k5")).diffusion(), []
    assert example.annotation is not None
    for part in torch.arange(len(example.observation.box)).split(100):
        seen = example.observation[part]
        draws = [seeded(0, "pixel critics", int(number)) for number in part]
        groups.append(policy.to_body(sample_each(policy, policy.context(seen), size, draws), seen))
    hypotheses = Hypotheses.cat(groups)
    return hypotheses, mpjpe(hypotheses.joints[:, :, :24], example.annotation.joints[:, None, :24], root=0)


def flips(example: Example) -> Hypotheses:
    """Pairs: the true body, and it with a limb mirrored in depth."""
    body = load_free_body("3k5")
    assert example.annotation is not None
    truth = example.annotation.body
    bodies = BodyParams.stack([truth, noisy_bodies(body, truth, LabelNoise("depth_flip"), seeded(0, "flips"))], 1)
    return Hypotheses(bodies, posed_joints(body, bodies))


def critics(args) -> dict:
    """Name -> critic, whether it looks at pixels."""
    body, noise = load_free_body("3k5"), noise_of("mediapipe")
    found = {name: (make_critic(name, body), False) for name in BY_KEYPOINTS}
    found["limb-tilt"] = (LimbTiltCritic(body, load_pixel(args.checkpoint, body.skeleton_hash)), True)
    for given in args.scorer:
        name, path = given.split("=", 1)
        scored = load_scorer(path, body.skeleton_hash)
        found[name] = (ScorerCritic(body, scored, noise.offsets, name), scored.scorer.config.pixels)
    return found


def shown(i, digits: int) -> str:
    """An interval."""
    return f"{i.mean:.{digits}f} ({i.low:.{digits}f} to {i.high:.{digits}f})"


HEAD = """# Critics that see pixels

The first {persons} persons of {split} with pictures, 16 samples each of the pixel model; Spearman within each group, on
average; and percent of persons whose true body is liked better than the same with a limb mirrored in depth (a tie
counts half): many such bodies are implausible, so the column says little without the exchanged row. 95 % intervals over
persons. `exchanged`: everybody with the next person's picture. `A + B`: scores in standard deviations of the group.

    python benchmarks/pixels/critics.py --data runs/synthwild --checkpoint {checkpoint} --persons {persons}{more}
"""


def main() -> None:
    """Judge and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--checkpoint", default="pixel")
    parser.add_argument("--scorer", nargs="*", default=[], metavar="NAME=FILE")
    parser.add_argument("--split", default="wild/val")
    parser.add_argument("--persons", type=int, default=500)
    args = parser.parse_args()
    torch.set_num_threads(1)
    example = open_dataset("synthwild-images", args.data, args.split).first(args.persons).examples
    crop = example.observation.crop
    assert crop is not None
    elsewhere = replace(example, observation=replace(example.observation, crop=crop.roll(1, dims=0)))
    hypotheses, errors = samples(args.checkpoint, example, 16)
    pairs, rows, figures = flips(example), [], {}
    made = critics(args)
    for first, second in TOGETHER:
        if first in made and second in made:
            both = (made[first], made[second])
            made[f"{first} + {second}"] = (Together(both[0][0], both[1][0]), both[0][1] or both[1][1])
    for name, (critic, sees) in made.items():
        for label, given in ((name, example), *([(f"{name}, exchanged", elsewhere)] if sees else [])):
            ranks = bootstrap_mean(spearman(judge(critic, hypotheses, given), errors).numpy())
            two = judge(critic, pairs, given)
            right = bootstrap_mean(((two[:, 0] > two[:, 1]).double() + 0.5 * (two[:, 0] == two[:, 1]).double()).numpy())
            said = [
                f"{i.mean:.{d}f} ({i.low:.{d}f} to {i.high:.{d}f})" for i, d in ((ranks, 3), (right.scaled(100), 1))
            ]
            rows.append([label, *said])
            figures[label] = {"srcc": round(ranks.mean, 4), "flips_right": round(right.mean, 4)}
            print(label, *said, flush=True)
    more = f" --scorer {' '.join(args.scorer)}" if args.scorer else ""
    head = HEAD.format(**{**vars(args), "more": more})
    out = ROOT / "docs/results/pixel_critics"
    table = markdown_table(["critic", "SRCC", "flips seen, %"], rows)
    out.with_suffix(".md").write_text(f"{head}\n{table}\n", encoding="utf-8")
    record = {"checkpoint": checkpoint_hash(args.checkpoint), "split": args.split, "rows": figures}
    out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
