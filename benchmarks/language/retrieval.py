"""How well texts find their poses and poses their texts, and what a pose space loses.

    python benchmarks/language/retrieval.py --spaces small=DIR/pose-text.safetensors bag=... --pose-spaces vq=DIR/... \
        [--pose-file FILE] [--encoder-folder DIR]

Poses that no training saw: of the held-out prior, of the test split of the pose file where it is given, and of typed
postures, whose ranges training shares; seen by cameras at random, bodies of random shape. Each comes with its mirror
image. Captions are our own captioner's, in the words of training (`say`) and in paraphrases that it never uses there
(`held_out`). Rows of texts are pools of --count poses, --draws times.

`statements` is the ceiling of what a caption can say: instead of words, its statements are measured on every pose, and
the sum of log truth over log frequency is the similarity. No figure here is comparable with published ones on captions
written by people.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import torch

from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import forward_kinematics, rest_joints
from hmralign.data.synthetic.poses import PoseMix
from hmralign.data.synthetic.views import ViewMix
from hmralign.geometry.rotations import mean_rotmat, rotvec_to_rotmat
from hmralign.language.agreement import agreement, measure, wanted
from hmralign.language.caption import caption, frequencies
from hmralign.language.statements import STATEMENTS
from hmralign.metrics.retrieval import mean_recall, r_precision, recall_at, told_apart
from hmralign.models.checkpoint import checkpoint_hash
from hmralign.models.language.checkpoint import load_pose_space, load_text_space
from hmralign.models.language.pose_space import mirrored_rotmats
from hmralign.models.language.text_space import LatentTextGuide
from hmralign.reports.markdown_table import markdown_table
from hmralign.storage.seeds import seeded
from hmralign.training.pose_draws import drawn_poses, pose_source
from hmralign.training.pose_vqvae import reconstruction_errors

ROOT = Path(__file__).parents[2]
KS = (1, 5, 10)
POOL = 32
MIRROR_DIFFERS = 0.10
"""Mean distance of joints, metres, from which a pose and its mirror image are held to differ."""
PULLED = 100
START_SD = 0.35
"""Radians about each axis by which joints are turned away."""
WORDINGS = ("say", "held_out")


@dataclass(frozen=True)
class Held:
    """Poses, then their mirror images at the same places of a second half; joints in `cam`, metres."""

    rotmats: torch.Tensor
    joints: torch.Tensor
    descriptions: dict

    @property
    def count(self) -> int:
        return len(self.rotmats) // 2


def held_out(body, pose_file, count: int, draw: int) -> Held:
    source = pose_source(PoseMix(), pose_file, "test")
    given = drawn_poses(source, ViewMix(), count + count // 20, seeded(draw, "held-out poses"))
    betas = torch.randn(len(given), body.num_betas, generator=seeded(draw, "shapes")).clamp(-3, 3)
    both = torch.cat([given, mirrored_rotmats(given)])
    _, joints = forward_kinematics(rest_joints(body, torch.cat([betas, betas])), both, body.parents)
    joints = joints[:, :24] - joints[:, :1]
    said = {w: caption(joints, seeded(draw, "captions"), both, wording=w) for w in WORDINGS}
    n = len(given)
    good = [i for i in range(n) if all(said[w][j].texts for w in WORDINGS for j in (i, i + n))][:count]
    if len(good) < count:
        raise SystemExit(f"only {len(good)} of {n} poses have a caption; expected {count}")
    index = good + [i + n for i in good]
    return Held(both[index], joints[index], {w: [said[w][i] for i in index] for w in WORDINGS})


def statement_similarity(held: Held, wording: str) -> torch.Tensor:
    """Log truth over log frequency of what each text says of every pose: (text, pose), mirror images included."""
    signs = wanted(held.descriptions[wording]).clamp(min=0)  # captions deny nothing
    truth = measure(held.joints, held.rotmats).clamp(min=1e-3)
    rarity = torch.tensor([frequencies()[s.family] for s in STATEMENTS]).log()
    return signs @ (truth.log() - rarity).nan_to_num(0.0).mT


@torch.no_grad()
def space_similarity(space, held: Held, wording: str) -> torch.Tensor:
    texts = [d.text() for d in held.descriptions[wording]]
    features = torch.cat([space.text_features(texts[i : i + 250]) for i in range(0, len(texts), 250)])
    return features @ space.pose_features(held.rotmats).mT


def similarity(space, held: Held, wording: str) -> torch.Tensor:
    return statement_similarity(held, wording) if space is None else space_similarity(space, held, wording)


def retrieval_figures(table: torch.Tensor, held: Held, draw: int) -> dict[str, float]:
    n = held.count
    own = table[:n, :n]
    figures = {}
    for way, one in (("t2p", own), ("p2t", own.mT)):
        figures |= {f"{way} R@{k}": recall_at(one, k) for k in KS}
        figures |= {f"{way} RP@{k}": r_precision(one, k, POOL, seeded(draw, "pools", way)) for k in (1, 3)}
    figures["mRecall"] = mean_recall(own)
    diagonal = own.diagonal()
    apart = told_apart(diagonal, table[:n, n:].diagonal()).float()
    differs = (held.joints[:n] - held.joints[n:]).norm(dim=-1).mean(1) >= MIRROR_DIFFERS
    figures["mirror t2p"] = float(apart.mean())
    figures["mirror t2p, where it differs"] = float(apart[differs].mean())
    figures["mirror p2t"] = float(told_apart(diagonal, table[n:, :n].diagonal()).float().mean())
    away = torch.cdist(held.joints[:n].flatten(1), held.joints[:n].flatten(1)).fill_diagonal_(torch.inf)
    nearest = away.argmin(1)
    figures["nearest t2p"] = float(told_apart(diagonal, own[torch.arange(n), nearest]).float().mean())
    return figures


def reconstruction_rows(body, spaces: dict, held: Held) -> dict[str, dict[str, float]]:
    given = held.rotmats[: held.count]
    rows = {"mean pose (nothing is kept)": mean_rotmat(given.movedim(0, -3))[None].expand_as(given)}
    rows |= {name: space(given) for name, space in spaces.items()}
    out = {}
    for name, made in rows.items():
        errors = reconstruction_errors(body, made, given)
        out[name] = {
            "joints, mm": 1000 * float(errors["joints"].mean()),
            "joints, worst 5 %, mm": 1000 * float(errors["joints"].quantile(0.95)),
            "vertices, mm": 1000 * float(errors["mesh"].mean()),
            "angle, deg": float(errors["angle"].mean().rad2deg()),
        }
        if (space := spaces.get(name)) is not None and space.codebook is not None:
            used = torch.bincount(space.codes(given).flatten(), minlength=space.config.codes).double()
            share = used / used.sum()
            out[name]["codes in use"] = int((used > 0).sum())
            out[name]["perplexity"] = float(torch.exp(-(share * share.clamp(min=1e-12).log()).sum()))
    return out


def pull_rows(body, space, held: Held) -> dict[str, dict[str, float]]:
    """Bodies that are turned away from theirs at random in every joint, then walked down the loss of their text."""
    given = held.rotmats[: (n := min(held.count, PULLED))]
    said = held.descriptions["say"][:n]
    with torch.no_grad():
        guide = LatentTextGuide(space, space.text_features([d.text() for d in said]))
    noise = START_SD * torch.randn(n, 24, 3, generator=seeded(0, "turned away"))
    start, signs = given @ rotvec_to_rotmat(noise), wanted(said)
    truth = mean_shape_joints(body, given)

    def row(rotmats: torch.Tensor) -> dict[str, float]:
        joints = mean_shape_joints(body, rotmats)
        return {
            "loss": float(guide.loss(joints, rotmats).mean()),
            "statements, %": 100 * float(agreement(joints, signs, rotmats).mean()),
            "joints from the true pose, mm": 1000 * float((joints - truth).norm(dim=-1).mean()),
        }

    with torch.no_grad():
        rows = {"true pose": row(given), "start": row(start)}
    turn = torch.zeros(n, 24, 3, requires_grad=True)
    optimizer = torch.optim.Adam([turn], lr=0.01)
    for step in range(1, 61):
        rotmats = start @ rotvec_to_rotmat(turn)
        optimizer.zero_grad()
        guide.loss(truth, rotmats).sum().backward()
        optimizer.step()
        if step in (10, 30, 60):
            with torch.no_grad():
                rows[f"after {step} steps"] = row(start @ rotvec_to_rotmat(turn))
    with torch.no_grad():
        rows["pose decoded from the text alone"] = row(space.poses.decode(space.text_latents([d.text() for d in said])))
    return rows


def mean_shape_joints(body, rotmats: torch.Tensor) -> torch.Tensor:
    _, joints = forward_kinematics(rest_joints(body, torch.zeros(body.num_betas)), rotmats, body.parents)
    return joints[:, :24] - joints[:, :1]


def named(pairs: list[str]) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in pairs)


def rounded(row: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in row.items()}


def over_draws(figures: list[dict[str, float]]) -> dict[str, list[float]]:
    """Mean, least and most over draws."""
    out = {}
    for name in figures[0]:
        values = [f[name] for f in figures]
        out[name] = [round(x, 4) for x in (sum(values) / len(values), min(values), max(values))]
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spaces", nargs="+", default=["pose-text=pose-text"], metavar="NAME=FILE")
    parser.add_argument("--pose-spaces", nargs="*", default=[], metavar="NAME=FILE")
    parser.add_argument("--encoder-folder", default=None, help="of spaces with a sentence encoder")
    parser.add_argument("--pose-file", default=None)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--kept", type=Path, default=None, help="earlier result: rows that are not measured now stay")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/retrieval.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    body = load_free_body("3k5")
    skeleton = body.skeleton_hash
    spaces = {n: load_text_space(p, skeleton, args.encoder_folder) for n, p in named(args.spaces).items()}
    pose_spaces = {n: load_pose_space(p, skeleton) for n, p in named(args.pose_spaces).items()}
    pose_spaces |= {f"in {n}": space.poses for n, space in spaces.items() if not pose_spaces}
    draws = [held_out(body, args.pose_file, args.count, draw) for draw in range(args.draws)]
    rows: dict = {}
    for wording in WORDINGS:
        for name in (*spaces, "statements"):
            of_draws = [
                retrieval_figures(similarity(spaces.get(name), held, wording), held, number)
                for number, held in enumerate(draws)
            ]
            rows.setdefault(wording, {})[name] = over_draws(of_draws)
            print(wording, name, {k: v[0] for k, v in rows[wording][name].items()}, flush=True)
    with torch.no_grad():
        rebuilt = reconstruction_rows(body, pose_spaces, draws[0])
    pulled = {name: pull_rows(body, space, draws[0]) for name, space in spaces.items()}
    differs = [(h.joints[: h.count] - h.joints[h.count :]).norm(dim=-1).mean(1) >= MIRROR_DIFFERS for h in draws]
    result = {
        "count": args.count, "draws": args.draws, "pose_file": args.pose_file is not None, "retrieval": rows,
        "mirror_differs": round(float(torch.cat(differs).float().mean()), 4),
        "reconstruction": {n: rounded(row) for n, row in rebuilt.items()},
        "pull": {n: {k: rounded(row) for k, row in of_space.items()} for n, of_space in pulled.items()},
        "sha256": {n: file_hash(p) for n, p in (named(args.spaces) | named(args.pose_spaces)).items()},
    }  # fmt: skip
    if args.kept is not None:
        result = beside(result, json.loads(args.kept.read_text()))
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    args.out.with_suffix(".md").write_text(markdown(result))
    print(markdown(result))


def beside(result: dict, kept: dict) -> dict:
    """The rows of now in place of those of an earlier result over the same poses, whose other rows stay."""
    for name in ("count", "draws", "pose_file", "mirror_differs"):
        if result[name] != kept[name]:
            raise SystemExit(f"the earlier result has {name} {kept[name]}, this one {result[name]}; expected the same")
    rows = {w: {**kept["retrieval"][w], **result["retrieval"][w]} for w in result["retrieval"]}
    pull, hashes = {**kept["pull"], **result["pull"]}, {**kept["sha256"], **result["sha256"]}
    return {**kept, "retrieval": rows, "pull": pull, "sha256": hashes}


def file_hash(path: str) -> str:
    from hmralign.models.language.checkpoint import text_space_path

    return checkpoint_hash(text_space_path(path))[:16]


def percent(figure: list[float]) -> str:
    return f"{100 * figure[0]:.1f}"


SHOWN = (
    "t2p R@1", "t2p R@5", "t2p R@10", "p2t R@1", "p2t R@5", "p2t R@10", "mRecall", "t2p RP@1", "t2p RP@3",
    "mirror t2p", "mirror t2p, where it differs", "mirror p2t", "nearest t2p",
)  # fmt: skip
HEADS = (
    "R@1 text→pose", "R@5", "R@10", "R@1 pose→text", "R@5", "R@10", "mRecall", "RP@1 of 32", "RP@3",
    "mirrored pose told apart", "where it differs", "mirrored text told apart", "nearest pose told apart",
)  # fmt: skip


def markdown(result: dict) -> str:
    poses = (
        "held-out prior, test split of the pose file, postures" if result["pose_file"] else "held-out prior, postures"
    )
    lines = [
        "# Texts and poses in one space",
        "",
        f"{result['count']} held-out poses ({poses}) and captions of our own captioner;",
        f"mean of {result['draws']} draws, %.",
        "Not comparable with published figures, which are on captions written by people.",
        "Ties count against the space. `mirrored`: the own pose (text) against its mirror image; "
        f"{100 * result['mirror_differs']:.0f} % of poses",
        "differ from theirs by 10 cm or more in the mean joint. `nearest`: against the nearest of the other poses.",
        "`statements` measures what a caption says on every pose, without words: about the most that a caption can do.",
        "Command: `python benchmarks/language/retrieval.py`.",
    ]
    titles = {"say": "Captions in the words of training", "held_out": "Paraphrases that training never met"}
    for wording, rows in result["retrieval"].items():
        table = [[name, *(percent(row[k]) for k in SHOWN)] for name, row in rows.items()]
        lines += ["", f"## {titles[wording]}", "", markdown_table(["", *HEADS], table)]
    rebuilt = result["reconstruction"]
    columns = list(dict.fromkeys(k for row in rebuilt.values() for k in row))
    table = [[n, *(f"{row[c]:.1f}" if c in row else "" for c in columns)] for n, row in rebuilt.items()]
    lines += ["", "## What a pose space loses", "", "Root-relative, mean shape, the first draw's poses.", ""]
    lines += [markdown_table(["", *columns], table), "", "## How a text pulls", ""]
    lines += [
        f"{PULLED} bodies, every joint turned by {START_SD} rad (sd) about each axis, then walked down the loss of the",
        "true pose's caption (Adam on the rotations, nothing else holds them). A loss below that of the true pose is",
        "beyond it. Statements: mean soft truth of what the caption says.",
    ]
    for name, rows in result["pull"].items():
        heads = list(next(iter(rows.values())))
        table = [[n, *(f"{row[h]:.2f}" if h == "loss" else f"{row[h]:.0f}" for h in heads)] for n, row in rows.items()]
        lines += ["", f"`{name}`:", "", markdown_table(["", *heads], table)]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
