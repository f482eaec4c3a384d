"""Left and right, front and back: does the gate tell exchanged sides, and what do second modes give and cost?

    python benchmarks/photos/sides.py --synthwild FOLDER [--poses FILE] [--persons 100]
    python benchmarks/photos/sides.py --only-report        the tables again, from the figures

Writes docs/results/sides.{json,md}. Three kinds of keypoints: synthetic persons in held-out poses (with --poses those
of the validation split too), SynthWild's validation persons, and real ones: the gym photos with 3D truth and the other
shared photos, each read by the full and by the heavy weights of the detector. Of SynthWild's persons those are left
out whose own sides are exchanged, by the rule of `detection/sides.py` against the projected truth. "Exchanged by hand"
are the same keypoints with left and right exchanged. Groups have 20 hypotheses.
"""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from scipy.stats import rankdata

import sides_report
from hmralign.body.free_body import load_free_body
from hmralign.body.lbs import posed_keypoints
from hmralign.data.images import LoadedImage, load_image
from hmralign.data.synthwild_folder import open_split
from hmralign.detection.detection import Detection
from hmralign.detection.observe import camera_of, observe
from hmralign.detection.sides import exchanged_parts
from hmralign.fitting.detector_noise import noise_of
from hmralign.geometry.cameras import project
from hmralign.hypotheses.estimate import Estimate, estimate_bodies
from hmralign.hypotheses.sides import (
    EXCHANGED_SHARE,
    OtherSides,
    SideMode,
    SidesConfig,
    exchanged_probability,
    one_mode,
    two_modes,
)
from hmralign.metrics.joint_errors import mpjpe
from hmralign.metrics.uncertainty import Recalibration
from hmralign.models.checkpoint import checkpoint_hash
from hmralign.models.side_gate import exchanged_sides, load_side_gate, side_gate_path
from hmralign.policies.catalogue import open_policy
from hmralign.policies.policy import BodyProposer, SamplerConfig
from hmralign.structures import Example, Observation
from hmralign.systems.recover.expected_error import error_of_modes, recalibration_for
from hmralign.systems.recover.people import RecoverConfig, recover_people
from hmralign.training.side_gate import SideGateTrainingConfig, gate_inputs
from real_photo_sets import INDEX, PhotoSet, gym_set
from real_photos import pick, read_all, with_root

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs/results"
DATA = ROOT.parent / "shared" / "data"
NETWORKS = ("full", "heavy")
HYPOTHESES = 20
BINS = (0.0, 0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 1.0)
ALWAYS = SidesConfig(ask_above=0.0)
POLICIES = {"as read (never)": SidesConfig(mode="as-read"), "both": SidesConfig(), "both, always": ALWAYS}


def gate_figures(right: torch.Tensor, prior: float) -> dict:
    """How well log odds `right` of persons whose sides are right tell them from the same ones exchanged.

    Exchanging turns the sign. Probabilities at even odds are binned over both; with the prior, `false_alarms` are the
    persons with right sides who get a second mode, `noticed` the exchanged ones who do, `turned_wrongly` and
    `turned_rightly` those whose answer follows the other reading.
    """
    x = right.double().numpy()
    config, logit = SidesConfig(), float(np.log(prior / (1 - prior)))
    ranks = rankdata(np.concatenate([-x, x]))
    auc = (ranks[: len(x)].sum() - len(x) * (len(x) + 1) / 2) / len(x) ** 2
    both, wrong = np.concatenate([x, -x]), np.concatenate([np.zeros_like(x), np.ones_like(x)])
    p = 1 / (1 + np.exp(-both))
    rows = []
    for low, high in pairwise(BINS):
        inside = (p >= low) & (p < high if high < 1 else p <= high)
        if inside.any():
            rows.append([low, high, int(inside.sum()), float(p[inside].mean()), float(wrong[inside].mean())])
    gap = sum(n * abs(said - true) for *_, n, said, true in rows) / len(p)

    def beyond(values: np.ndarray, limit: float) -> float:
        return float((1 / (1 + np.exp(-(values + logit))) >= limit).mean())

    return {
        "persons": len(x),
        "auc": auc,
        "log_loss": float(np.logaddexp(0, x).mean()),
        "calibration_error": gap,
        "reliability": rows,
        "prior": prior,
        "false_alarms": beyond(x, config.ask_above),
        "noticed": beyond(-x, config.ask_above),
        "turned_wrongly": beyond(x, config.turn_above),
        "turned_rightly": beyond(-x, config.turn_above),
        "trade_off": {
            f"{limit:g}": [beyond(x, limit), beyond(-x, limit)] for limit in (0.02, 0.05, 0.1, 0.2, 0.5, 0.9)
        },
    }


def with_right_sides(example: Example) -> torch.Tensor:
    """Numbers of persons whose detected sides are those of the projected truth."""
    assert example.annotation is not None
    seen = example.observation
    true = project(posed_keypoints(load_free_body("3k5"), example.annotation.body), seen.K).numpy()
    ones = np.ones(true.shape[1], np.float32)
    right = [
        not exchanged_parts(true[i].astype(np.float32), ones, seen.keypoints[i].numpy(), seen.confidence[i].numpy())
        for i in range(len(true))
    ]
    return torch.tensor(right).nonzero()[:, 0]


def estimated(policy: BodyProposer, seen: Observation, detector: str) -> list[Estimate]:
    """Each person's estimate; all start from the same noise."""
    config = RecoverConfig()
    out: list[Estimate] = []
    for start in range(0, len(seen.box), 50):
        draw = torch.Generator().manual_seed(0)
        sampler = SamplerConfig(num_hypotheses=HYPOTHESES)
        part = seen[slice(start, start + 50)]
        made = estimate_bodies(policy, part, sampler, config.refinement, noise_of(detector), draw)
        out += [made[i] for i in range(len(part.box))]
    return out


def modes_of(read: Estimate, other: Estimate, logit: float, prior: float, config: SidesConfig):
    """What `recover` makes of one person: the estimate and its modes."""
    probability = exchanged_probability(logit, prior)
    if config.mode == "as-read" or probability < config.ask_above:
        return read, one_mode(read, 1 - probability)
    # The observation is not looked at by `two_modes`.
    second = OtherSides(probability, "sides exchanged", ("body",), "mediapipe", None, None)  # pyright: ignore[reportArgumentType]
    return two_modes(read, other, second, config)


def answer_row(
    estimate: Estimate, modes: tuple[SideMode, ...], truth: torch.Tensor, recalibration: Recalibration
) -> list[float]:
    """Millimetres of one person: fused, the nearest of 20, the expected error (RMS over joints), the actual one.

    Then the spread, whether there are two modes, and whether the answer follows the other reading.
    """
    joints, fused = estimate.hypotheses.joints[:, :24], estimate.fused_joints[:24]
    target = truth[:24] - truth[:1]
    gap = (fused[1:] - fused[:1] - target[1:]).norm(dim=-1)
    figures = (
        mpjpe(fused[None], truth[None, :24], root=0)[0],
        mpjpe(joints, truth[None, :24].expand_as(joints), root=0).min(),
        error_of_modes(modes, recalibration).square().mean().sqrt(),
        gap.square().mean().sqrt(),
        estimate.spread[1:24].square().mean().sqrt(),
    )
    return [*(1000 * float(f) for f in figures), float(len(modes) > 1), float(modes[0].reading != "as read")]


def synthwild_answers(policy: BodyProposer, example: Example, recalibration: Recalibration) -> dict:
    """Means over persons, by what is done about sides; sides right, and exchanged by hand."""
    assert example.annotation is not None
    seen, gate = example.observation, load_side_gate("sides")
    logits = gate(seen).tolist()
    right, wrong = (estimated(policy, s, "mediapipe") for s in (seen, exchanged_sides(seen)))
    prior, out = EXCHANGED_SHARE["mediapipe"], {}
    for case, (read, other, sign) in {"right": (right, wrong, 1), "exchanged": (wrong, right, -1)}.items():
        out[case] = {}
        for name, config in POLICIES.items():
            rows = []
            for i, logit in enumerate(logits):
                estimate, modes = modes_of(read[i], other[i], sign * logit, prior, config)
                rows.append(answer_row(estimate, modes, example.annotation.joints[i], recalibration))
            out[case][name] = np.array(rows).round(1).tolist()
    return out


def real_readings(photos: PhotoSet) -> tuple[dict, dict]:
    """Detections of everybody, and of the gym man with whether his sides are exchanged, by network."""
    images: dict[tuple[str, str], LoadedImage] = {
        (t, c): load_image(p) for t, shots in photos.photos.items() for c, p in shots.items()
    }
    others = {("other", p.stem): load_image(p) for p in sorted((DATA / "photos").glob("*.jpg")) if p.stem[:3] != "gym"}
    everybody = {network: read_all({**images, **others}, network) for network in NETWORKS}
    return {**images, **others}, everybody


def real_gate(photos: PhotoSet, images: dict, everybody: dict) -> dict:
    """The gate on real keypoints: gym (sides known) and other photos (sides as read), by network."""
    gate, out = load_side_gate("sides"), {}
    for network in NETWORKS:
        gym, flips, rest = [], [], []
        for (instant, camera), people in everybody[network].items():
            image = images[instant, camera]
            K = None
            if instant in photos.truth:
                pixels = photos.pixels(photos.truth[instant], camera).numpy()
                person, wrong = pick(people, pixels)
                people = [] if person is None else [person]
                K = photos.views.K[photos.cameras.index(camera)].numpy()
            for person in people:
                if (person.confidence > 0).sum() < 6:
                    continue
                logit = float(gate(observe(person, camera_of(image, K))))
                if instant not in photos.truth:
                    rest.append(logit)
                elif wrong:
                    flips.append([instant, camera, logit])
                    gym.append(-logit)
                else:
                    gym.append(logit)
        prior = EXCHANGED_SHARE["mediapipe" if network == "full" else "mediapipe_heavy"]
        out[network] = {
            "flips": flips,
            "gym": gate_figures(torch.tensor(gym), prior),
            "others": gate_figures(torch.tensor(rest), prior),
            "all": gate_figures(torch.tensor(gym + rest), prior),
        }
    return out


def real_answers(policy: BodyProposer, photos: PhotoSet, images: dict, everybody: dict) -> list[dict]:
    """`recover` on the gym photos, as read and with second modes, by network."""
    rows = []
    for network in NETWORKS:
        for (instant, camera), people in everybody[network].items():
            if instant not in photos.truth:
                continue
            points = photos.truth[instant]
            person, wrong = pick(people, photos.pixels(points, camera).numpy())
            if person is None:
                continue
            truth, K = photos.in_camera(points, camera), photos.views.K[photos.cameras.index(camera)].numpy()
            row: dict = {"network": network, "photo": f"{instant} {camera}", "exchanged": wrong}
            row["disagree"] = [] if person.alternative is None else list(person.alternative.exchanged)
            for name, config in POLICIES.items():
                row[name] = photo_row(policy, images[instant, camera], K, person, truth, config)
            rows.append(row)
    return rows


def photo_row(
    policy: BodyProposer, image: LoadedImage, K: np.ndarray, person: Detection, truth: torch.Tensor, sides: SidesConfig
) -> list[float | None]:
    """As `answer_row`, over twelve joints about the middle of the hips; the expected error over the body's joints."""
    config = RecoverConfig(sampler=SamplerConfig(num_hypotheses=HYPOTHESES), sides=sides)
    recalibration = recalibration_for(checkpoint_hash("lite"), config)
    assert recalibration is not None
    (answer,) = recover_people(policy, image, camera_of(image, K), [person], config).persons
    body = policy.body
    group = with_root(posed_keypoints(body, answer.hypotheses.body)[:, INDEX].double())
    fused = with_root(posed_keypoints(body, answer.fused[None])[:, INDEX].double())
    target = with_root(truth)[None]
    share = 13 / 12
    gap = ((fused - fused[:, :1]) - (target - target[:, :1])).norm(dim=-1)[0, 1:]
    figures = (
        share * mpjpe(fused, target, root=0)[0],
        share * mpjpe(group, target.expand_as(group), root=0).min(),
        error_of_modes(answer.modes, recalibration).square().mean().sqrt(),
        gap.square().mean().sqrt(),
        answer.spread[1:24].square().mean().sqrt(),
    )
    other = next((m.probability for m in answer.modes if m.reading != "as read"), None)
    turned = float(answer.modes[0].reading != "as read")
    return [*(round(1000 * float(f), 1) for f in figures), float(len(answer.modes) > 1), turned, other]


def measure(synthwild: Path, poses: Path | None, persons: int) -> dict:
    """All figures."""
    body = load_free_body("7k")
    policy = open_policy("lite", body).policy
    gate, prior = load_side_gate("sides"), EXCHANGED_SHARE["mediapipe"]
    recalibration = recalibration_for(checkpoint_hash("lite"), RecoverConfig())
    assert recalibration is not None
    config = SideGateTrainingConfig(pose_file=None if poses is None else str(poses), seed=1)
    figures: dict = {"gate_sha256": checkpoint_hash(side_gate_path("sides")), "lite_sha256": checkpoint_hash("lite")}
    held_out = gate_inputs(config, "val", 10000)
    logits = (gate.scale * gate.network(held_out)).clamp(-gate.limit, gate.limit)
    figures["gate"] = {"synthetic, held-out poses": gate_figures(logits, prior)}
    figures["answers"] = {}
    for world in ("wild/val", "lab/val"):
        example = open_split(synthwild, world).examples
        example = example[with_right_sides(example)]
        figures["gate"][f"SynthWild {world}"] = gate_figures(gate(example.observation), prior)
        figures["answers"][world] = synthwild_answers(policy, example[slice(0, persons)], recalibration)
        print(world, figures["gate"][f"SynthWild {world}"]["auc"], flush=True)
    if (DATA / "truth").is_dir():
        photos = gym_set(DATA)
        images, everybody = real_readings(photos)
        figures["real"] = real_gate(photos, images, everybody)
        figures["photos"] = real_answers(policy, photos, images, everybody)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--synthwild", type=Path, default=ROOT / "runs/synthwild")
    parser.add_argument("--poses", type=Path)
    parser.add_argument("--persons", type=int, default=100)
    parser.add_argument("--only-report", action="store_true")
    options = parser.parse_args()
    path = RESULTS / "sides.json"
    if not options.only_report:
        figures = measure(options.synthwild, options.poses, options.persons)
        path.write_text(json.dumps(figures) + "\n")
    (RESULTS / "sides.md").write_text(sides_report.markdown(json.loads(path.read_text())))


if __name__ == "__main__":
    main()
