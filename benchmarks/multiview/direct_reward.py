"""Direct reward fine-tuning of the multi-view base, against supervised continuation at equal CPU.

    python benchmarks/multiview/direct_reward.py --work DIR --pose-file FILE --phase before
    python benchmarks/multiview/direct_reward.py --work DIR --pose-file FILE --phase rates --seconds 60
    python benchmarks/multiview/direct_reward.py --work DIR --pose-file FILE --phase run --arms reward base
    python benchmarks/multiview/direct_reward.py --work DIR --pose-file FILE --phase again
    python benchmarks/multiview/direct_reward.py --work DIR --pose-file FILE --phase variants
    python benchmarks/multiview/direct_reward.py --work DIR --pose-file FILE --phase report

Arms begin at the same weights and have the same seconds of the processor in steps, one thread. `run` continues what was
cut off. An arm with a reward goes on to its end without guard; the weights that the guard would have kept are measured
too, since a guarded run is the beginning of the same run without (a test holds it to that). `rates` tries learning
rates on held-out persons for each arm that is named; `run` takes the best. `report` writes
docs/results/multiview_reward.md and .json; docs/results/multiview_reward_reading.md is put at the top.
"""

import argparse
import logging
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from direct_reward_tables import text_of
from hmralign.alignment.methods.direct_reward import DirectRewardConfig, planned_steps, rollout
from hmralign.alignment.methods.group import GroupConfig
from hmralign.alignment.multiview_groups import GroupViewSteps, scored_view_groups
from hmralign.alignment.multiview_reward import MultiViewRewardConfig, RewardData, best_look, fine_tune, sampled_views
from hmralign.critics.view_figures import ViewCritic
from hmralign.evaluation.multiview_arms import arm_row, spread_over_seeds
from hmralign.evaluation.multiview_controls import at_random, most_central, one_step, retrieved
from hmralign.metrics.intervals import bootstrap_mean
from hmralign.metrics.joint_errors import mpjpe, pa_mpjpe
from hmralign.models.multiview.judge import Judge
from hmralign.storage.json_file import parse_json
from hmralign.storage.seeds import seeded
from hmralign.storage.whole_file import write_json, write_whole
from hmralign.training.curve import curve_rows
from hmralign.training.low_rank import add_low_rank, merge_low_rank
from hmralign.training.multiview_readers import judge_on_ring, judge_quality, skeleton_quality
from hmralign.training.saved_tensors import saved_bytes

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs/results"
TOLERANCE, PATIENCE = 0.03, 4
DRTUNE = DirectRewardConfig(10, "drtune", last_steps=2, stop_within=4, hypotheses=1, kappa=0.01, clamp=2.0)
REWARD = MultiViewRewardConfig(rollout=DRTUNE, guarded=False, tolerance=TOLERANCE, patience=PATIENCE)
GROUPS = GroupConfig(mode="sigmoid", std_floor=1e-6)
GROUP_SIZE = 6
KEPT_LOOK = "kept_look.safetensors"
"""Weights of the look that the guard keeps, where it is not the last."""


VARIANTS = {
    "ReFL": replace(DRTUNE, variant="refl"),
    "DRaFT-1": replace(DRTUNE, variant="draft", last_steps=1, stop_within=1),
    "DRaFT-2": replace(DRTUNE, variant="draft", last_steps=2, stop_within=1),
    "DRTune, K = 2": DRTUNE,
    "DRTune, K = 5": replace(DRTUNE, last_steps=5),
    "full": replace(DRTUNE, variant="full", stop_within=1),
}


@dataclass(frozen=True)
class Arm:
    """One way to spend the time."""

    says: str
    config: MultiViewRewardConfig
    renders: str = "base"
    """Whose renders the base loss sees: `base`, or `fine-tuning`."""
    perceptual: bool = True
    """Whether the reward has its perceptual term."""
    labels: bool = False
    """Whether the joints of the fine-tuning persons are labels of what reads the front, beside the base loss."""
    groups: int = 0
    """Persons whose groups are sampled and weighed in place of a gradient through the sampler."""
    rate: float | None = None
    """A rate of its own, which no search chose: for arms that ask what a term does where the reward moves the model, or
    what another arm does with more persons."""
    persons: int | None = None
    """Fine-tuning persons; None for as many as all arms have."""


MOVED = 3e-5
"""A rate at which PoseScore rises, unlike at the least harmful one; terms are taken away at it."""
ARMS = {
    "reward": Arm("reward, KL, base loss beside", REWARD),
    "whole": Arm("reward of finished samples, KL, base loss", replace(REWARD, rollout=replace(DRTUNE, stop_within=1))),
    "moved": Arm("reward, KL, base loss, at ten times the rate", REWARD, rate=MOVED),
    "no-base": Arm("reward, KL", replace(REWARD, base_weight=0.0), rate=MOVED),
    "strong-kl": Arm(
        "reward, KL 300 times, base loss beside", replace(REWARD, rollout=replace(DRTUNE, kappa=3.0)), rate=MOVED
    ),
    "no-kl": Arm("reward, base loss beside", replace(REWARD, rollout=replace(DRTUNE, kappa=0.0)), rate=MOVED),
    "bare": Arm("reward alone", replace(REWARD, base_weight=0.0, rollout=replace(DRTUNE, kappa=0.0)), rate=MOVED),
    "sharp": Arm("reward, KL, base loss, haze costs 0.05", replace(REWARD, haze_weight=0.05), rate=MOVED),
    "sharper": Arm("reward, KL, base loss, haze costs 0.2", replace(REWARD, haze_weight=0.2), rate=MOVED),
    "bce": Arm("reward by cross-entropy alone, KL, base loss", REWARD, perceptual=False, rate=MOVED),
    "lora": Arm("reward, KL, base loss, LoRA rank 8", replace(REWARD, trainable="lora", learning_rate=5e-4)),
    **{
        f"moved-{name}": Arm(f"`moved` by {says}", replace(REWARD, rollout=VARIANTS[says]), rate=MOVED)
        for name, says in {
            "refl": "ReFL",
            "draft-1": "DRaFT-1",
            "draft-2": "DRaFT-2",
            "k5": "DRTune, K = 5",
            "full": "full",
        }.items()
    },
    "groups": Arm("groups with advantages, base loss beside", REWARD, groups=80),
    "labels": Arm("the same joints as labels of what reads the front", replace(REWARD, reward_weight=0.0), labels=True),
    "base": Arm("continuation on base data", replace(REWARD, reward_weight=0.0)),
    "renders": Arm("continuation on the fine-tuning renders", replace(REWARD, reward_weight=0.0), "fine-tuning"),
    "many-renders": Arm(
        "the same, of 8,000 persons", replace(REWARD, reward_weight=0.0), "fine-tuning", rate=1e-4, persons=8000
    ),
    "many-reward": Arm("reward, KL, base loss beside, of 8,000 persons", REWARD, rate=3e-6, persons=8000),
}
CONTROL = "base"
RATE_SEED = 100
MEAN = "mean of 8 samples of the base"
"""The rival explanation of a gain: a model that says less."""
MEDOID = "of 8 samples of the base the nearest to their mean"
"""The same for a gain without haze: a model that says what is most usual."""
LIKED = "of 8 samples of the base the one with the best PoseScore of the joints that its own reader says"
"""A choice without any label: what direct reward could teach a model of itself."""


@dataclass(frozen=True)
class Setting:
    """What all arms share."""

    policy: Any
    critic: ViewCritic
    data: RewardData
    test: Any
    """Test persons."""
    hard: np.ndarray
    """Which of them are in hard poses."""
    base_loss: Callable[..., torch.Tensor]
    drawn: Callable[[int], Any]
    """So many fine-tuning persons."""
    second: Judge | None = None
    """A judge that no guard and no choice ever asks."""

    @cached_property
    def reference(self) -> Any:
        """The start, frozen."""
        return deepcopy(self.policy).eval().requires_grad_(False)


def opened(args: argparse.Namespace) -> Setting:
    """The setting of the command line: networks from files, persons from seeds."""
    from hmralign.body.free_body import load_free_body
    from hmralign.data.synthetic.hard_poses import is_hard
    from hmralign.models.multiview.checkpoint import view_transformer_path
    from hmralign.models.multiview.pose_score import PoseScore
    from hmralign.models.multiview.reader_checkpoint import load_judge, load_skeleton
    from hmralign.policies.multiview import MultiViewPolicy
    from hmralign.training.multiview_base import MultiViewTrainingConfig, base_view_loss, view_persons

    skeleton = load_free_body("3k5").skeleton_hash
    config = MultiViewTrainingConfig(
        pose_file=None if args.pose_file is None else str(args.pose_file), kind=args.base_kind
    )
    score = PoseScore(*load_skeleton(args.skeleton, skeleton))
    critic = ViewCritic(judge_on_ring(load_judge(args.judge, skeleton), config.ring), score, config.ring)
    test = view_persons(config, 4 * args.test, "test", split="test")
    hard = is_hard(test.joints)
    chosen = torch.cat([(~hard).nonzero()[: args.test, 0], hard.nonzero()[: args.test, 0]])
    drawn = cache(lambda count: view_persons(config, count, "fine-tuning"))
    data = RewardData(
        drawn(args.persons),
        view_persons(config, args.base_persons, "base", kind=config.kind),
        view_persons(config, args.held_out, "held out", split="val"),
    )
    base = MultiViewPolicy.load(view_transformer_path(args.base))
    second = None if args.second_judge is None else judge_on_ring(load_judge(args.second_judge, skeleton), config.ring)
    return Setting(base, critic, data, test[chosen], hard[chosen].numpy(), base_view_loss, drawn, second)


def measured(setting: Setting, policy: Any) -> dict[str, list[float]]:
    """Figures of each test person."""
    return figures_of_views(setting, sampled_views(policy, setting.test, 1))


@torch.no_grad()
def figures_of_views(setting: Setting, views: torch.Tensor) -> dict[str, list[float]]:
    """Figures of views of the test persons, of each; `second_...` are those of the second judge."""
    figures = setting.critic.figures(views, setting.test)
    if setting.second is not None:
        read, true = setting.second(views), setting.test.joints
        figures |= {"second_mpjpe": mpjpe(read, true, root=0), "second_pa_mpjpe": pa_mpjpe(read, true)}
    return {name: values.tolist() for name, values in figures.items()}


def trained_arm(
    setting: Setting, arm: Arm, config: MultiViewRewardConfig, folder: Path, looked: Callable[[Any], None] | None = None
) -> tuple[Any, float]:
    """An arm's outcome, and the seconds of the processor that it took."""
    policy = deepcopy(setting.policy)
    persons = setting.data.persons if arm.persons is None else setting.drawn(arm.persons)
    data = replace(setting.data, persons=persons, base=persons if arm.renders == "fine-tuning" else setting.data.base)
    steps, spent = None, 0.0
    if arm.groups:
        began = time.process_time()
        items = scored_view_groups(
            setting.reference, data.persons[: arm.groups], setting.critic, GROUP_SIZE, GROUPS, config.seed
        )
        spent = time.process_time() - began  # equal CPU: sampling the groups is part of it
        assert config.seconds is not None
        config = replace(config, seconds=max(config.seconds - spent, 1.0))
        steps = GroupViewSteps(items, data.persons, data.base, setting.reference, setting.base_loss, GROUPS, config)
    critic = setting.critic
    if not arm.perceptual:
        critic = replace(critic, score=replace(critic.score, perceptual_weight=0.0))
    base_loss = with_labels(setting) if arm.labels else setting.base_loss
    outcome = fine_tune(policy, setting.reference, data, critic, base_loss, config, folder, looked, steps)
    return outcome, outcome.seconds + spent


def with_labels(setting: Setting) -> Callable[..., torch.Tensor]:
    """The base's loss, and beside it what the reader of fronts errs by on as many of the fine-tuning persons."""
    from hmralign.rendering.ring_persons import half_mirrored
    from hmralign.training.multiview_base import front_joint_loss

    def loss(policy: Any, persons: Any, generator: torch.Generator) -> torch.Tensor:
        some = torch.randint(len(setting.data.persons.joints), (len(persons.joints),), generator=generator)
        seen = half_mirrored(setting.data.persons[some], generator)
        return setting.base_loss(policy, persons, generator) + front_joint_loss(policy, seen)

    return loss


def run_arm(setting: Setting, name: str, seed: int, seconds: float, work: Path) -> None:
    """Train one arm at its rate, and measure its end and what its guard would have kept."""
    folder = work / f"{name}-{seed}"
    if (folder / "figures.json").exists():
        return
    config = replace(ARMS[name].config, seconds=seconds, seed=seed)
    config = replace(config, learning_rate=rate_of(work, name) or config.learning_rate)
    looks: list[dict[str, torch.Tensor]] = []

    def looked(average: Any) -> None:
        looks.append({key: value.clone() for key, value in average.state_dict().items()})

    outcome, spent = trained_arm(setting, ARMS[name], config, folder, looked)
    rows = curve_rows(folder / "curve.jsonl")
    document = {"end": measured(setting, outcome.policy), "steps": outcome.steps, "seconds": spent}
    kept, _ = best_look([row["held_out_mpjpe"] for row in rows], TOLERANCE, PATIENCE)
    if kept < len(rows) - 1 and len(looks) == len(rows):
        save_file({key: value.contiguous() for key, value in looks[kept].items()}, folder / KEPT_LOOK)
        guarded = with_weights(setting.policy, looks[kept], config)
        document |= {"guarded": measured(setting, guarded), "kept_step": rows[kept]["step"]}
    write_json(folder / "figures.json", document | {"config": asdict(config)})


def with_weights(policy: Any, weights: dict[str, torch.Tensor], config: MultiViewRewardConfig) -> Any:
    """A policy with the weights of a look or of an end, low-rank updates merged."""
    tuned = deepcopy(policy)
    if config.trainable == "lora":
        add_low_rank(tuned.denoiser, config.lora_rank, seeded(0, "replaced by those of the file"))
    tuned.load_state_dict(weights)
    merge_low_rank(tuned)
    return tuned.eval().requires_grad_(False)


def try_rate(setting: Setting, name: str, rate: float, seconds: float, work: Path) -> None:
    """Train an arm with a rate; note what the judge says of held-out persons then. Test persons are not looked at."""
    folder = work / "rates" / f"{name}-{rate:g}"
    if (folder / "held_out.json").exists():
        return
    config = replace(ARMS[name].config, seconds=seconds, seed=RATE_SEED, learning_rate=rate)
    outcome, _ = trained_arm(setting, ARMS[name], config, folder)
    figures = setting.critic.figures(sampled_views(outcome.policy, setting.data.held_out, 0), setting.data.held_out)
    held_out = {key: float(values.mean()) for key, values in figures.items()}
    write_json(folder / "held_out.json", {"arm": name, "rate": rate, "steps": outcome.steps, **held_out})


def measure_again(setting: Setting, work: Path) -> None:
    """Measure arms that ran, from their weights: for figures that were not taken when they did."""
    for path in sorted(work.glob("*/figures.json")):
        found = read_json(path)
        config = MultiViewRewardConfig(trainable=found["config"]["trainable"], lora_rank=found["config"]["lora_rank"])
        state = torch.load(path.with_name("state.pt"), weights_only=True)
        found["end"] = measured(setting, with_weights(setting.policy, state["ema"]["module"], config))
        if path.with_name(KEPT_LOOK).exists():
            kept = load_file(path.with_name(KEPT_LOOK))
            found["guarded"] = measured(setting, with_weights(setting.policy, kept, config))
        write_json(path, found)


def tried_rates(work: Path) -> list[dict[str, Any]]:
    """What `try_rate` noted, by arm and rate."""
    found = [read_json(path) for path in work.glob("rates/*/held_out.json")]
    return sorted(found, key=lambda row: (list(ARMS).index(row["arm"]), row["rate"]))


def rate_of(work: Path, name: str) -> float | None:
    """The rate of an arm: its own, or that of the least held-out error; None for an arm that was not tried."""
    if ARMS[name].rate is not None:
        return ARMS[name].rate
    rows = [row for row in tried_rates(work) if row["arm"] == name]
    return min(rows, key=lambda row: row["mpjpe"])["rate"] if rows else None


def variant_rows(setting: Setting, persons: int = 4) -> list[dict[str, Any]]:
    """Memory, time and gradient of one rollout with its reward, for each variant; the gradient against `full`."""
    rows, gradients = [], {}
    some = setting.data.persons[:persons]
    target = setting.critic.targets(some.joints)
    policy = deepcopy(setting.policy).requires_grad_(False)
    policy.denoiser.requires_grad_(True)
    trained = [p for p in policy.parameters() if p.requires_grad]
    x_T = torch.randn(persons, 1, some.pixels[0].numel(), generator=seeded(0, "variants"))
    for name, config in VARIANTS.items():
        plan = planned_steps(config, seeded(3, "variants"))
        fronts = some.pixels[:, 0].float()

        def loss(config: DirectRewardConfig = config, plan: Any = plan, fronts: Any = fronts) -> torch.Tensor:
            ours, theirs = policy.context(fronts), setting.reference.context(fronts)
            x_0, drift = rollout(policy, setting.reference, ours, theirs, x_T, config, plan)
            return (config.kappa * drift[:, 0] - setting.critic.score(policy.to_views(x_0)[:, 0], target)).mean()

        kept = saved_bytes(loss, policy)
        began = time.process_time()
        gradient = torch.autograd.grad(loss(), trained, allow_unused=True)
        seconds = time.process_time() - began
        gradients[name] = torch.cat(
            [torch.zeros(p.numel()) if g is None else g.flatten() for p, g in zip(trained, gradient, strict=True)]
        )
        rows.append({"variant": name, "megabytes": kept / 2**20, "seconds": seconds})
    for row in rows:
        ours, whole = gradients[row["variant"]], gradients["full"]
        row["cosine"] = float(torch.nn.functional.cosine_similarity(ours, whole, dim=0))
        row["share"] = row["megabytes"] / rows[-1]["megabytes"]
    return rows


def read_json(path: Path) -> Any:
    return parse_json(path.read_text(encoding="utf-8"), nan=True)


def figures_of(work: Path, name: str, part: str = "end") -> list[dict[str, np.ndarray]]:
    """Figures of all seeds of an arm; empty for an arm that was not run."""
    found = [read_json(path) for path in sorted(work.glob(f"{name}-[0-9]*/figures.json"))]
    return [{k: np.array(v) for k, v in (one.get(part) or one["end"]).items()} for one in found]


def document_of(work: Path) -> dict[str, Any]:
    """All that the tables say, as numbers: millimetres and shares with 95 % intervals over persons."""
    before = read_json(work / "before.json")
    hard = np.array(before["hard"])
    base = [{name: np.array(values) for name, values in before["base"].items()}]
    controls_of = {part: figures_of(work, CONTROL, part) or base for part in ("end", "guarded")}
    kinds = {"ordinary": ~hard, "hard": hard, "all": np.ones_like(hard)}
    rows, gates = [], []
    untrained = {"mean": MEAN, "medoid": MEDOID, "liked": LIKED}
    own = {name: [{k: np.array(v) for k, v in before["controls"][name].items()}] for name in untrained.values()}
    mean = own[MEAN]
    known: dict[str, tuple[str, Any]] = {
        "before": ("before fine-tuning", base),
        **{arm: (f"no fine-tuning: {name}", own[name]) for arm, name in untrained.items()},
    }
    for name in (*known, *ARMS):
        for part in ("end", "guarded") if name in ARMS else ("end",):
            says, runs = known[name] if name in known else (ARMS[name].says, figures_of(work, name, part))
            if not runs:
                continue
            row: dict[str, Any] = {"arm": name, "says": says, "part": part, "seeds": len(runs)}
            for kind, chosen in kinds.items():
                if not chosen.any():
                    continue
                against, start = arm_row(runs, controls_of[part], chosen), arm_row(runs, base, chosen)
                hazy = arm_row(runs, mean, chosen)
                row[kind] = {
                    "mpjpe_mm": triple(against["value"], 1000.0),
                    "against_control": triple(against["change"]),
                    "against_before": triple(start["change"]),
                    "against_mean": triple(hazy["change"]),
                    "seed_sd_mm": 1000 * spread_over_seeds(runs, chosen) if len(runs) > 1 else None,
                    "second": by_second_judge(runs, controls_of[part], base, mean, chosen),
                    "pa_mpjpe_mm": float(np.mean([1000 * r["pa_mpjpe"][chosen].mean() for r in runs])),
                    **{n: float(np.mean([r[n][chosen].mean() for r in runs])) for n in ("psnr", "ssim", "soft_iou")},
                    "haze": float(np.mean([r["haze"][chosen].mean() for r in runs])) if "haze" in runs[0] else None,
                    "pose_score": float(np.mean([r["pose_score"][chosen].mean() for r in runs])),
                }
            rows.append(row)
    for name, found in before.get("controls", {}).items():
        figures = {key: np.array(values) for key, values in found.items()}
        gates.append(
            {"control": name}
            | {
                kind: triple(bootstrap_mean(figures["mpjpe"][chosen]), 1000.0)
                for kind, chosen in kinds.items()
                if chosen.any()
            }
        )
    gates.append(
        {"control": "the base, DDIM"}
        | {
            kind: triple(bootstrap_mean(base[0]["mpjpe"][chosen]), 1000.0)
            for kind, chosen in kinds.items()
            if chosen.any()
        }
    )
    curves = {
        path.parent.name: curve_rows(path)
        for path in sorted(work.glob("*/curve.jsonl"))
        if path.parent.name.rpartition("-")[0] in ARMS
    }
    variants = read_json(work / "variants.json") if (work / "variants.json").exists() else []
    return {
        "setting": before["setting"],
        "readers": before["readers"],
        "true_views_mm": before["true_views_mm"],
        "persons": {kind: int(chosen.sum()) for kind, chosen in kinds.items()},
        "gates": gates,
        "rows": rows,
        "guard": [guard_row(name, found) for name, found in curves.items()],
        "rates": [row | {"says": ARMS[row["arm"]].says} for row in tried_rates(work)],
        "variants": variants,
        "curves": {name: [look(row) for row in found] for name, found in curves.items()},
    }


def look(row: dict[str, Any]) -> list[float]:
    """Step, the guard's error in mm, PoseScore and haze on held-out persons of one look of a curve."""
    error, score = 1000 * row["held_out_mpjpe"], row["held_out_pose_score"]
    return [row["step"], round(error, 1), round(score, 5), round(row["held_out_haze"], 3)]


def by_second_judge(runs: Any, control: Any, base: Any, mean: Any, chosen: np.ndarray) -> dict[str, Any] | None:
    """What the second judge says of an arm: millimetres, changes as shares; None where it was not asked."""
    name = "second_mpjpe"
    if any(name not in one for one in (*runs, *control, *base)):
        return None
    against = arm_row(runs, control, chosen, name)
    return {
        "mpjpe_mm": triple(against["value"], 1000.0),
        "against_control": triple(against["change"]),
        "against_before": triple(arm_row(runs, base, chosen, name)["change"]),
        "against_mean": triple(arm_row(runs, mean, chosen, name)["change"]) if mean and name in mean[0] else None,
        "pa_against_control": triple(arm_row(runs, control, chosen, "second_pa_mpjpe")["change"]),
    }


def triple(interval: Any, factor: float = 1.0) -> list[float]:
    scaled = interval.scaled(factor)
    return [scaled.mean, scaled.low, scaled.high]


def guard_row(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What the judge said over a run, and where its guard would have stopped it."""
    errors = [1000 * row["held_out_mpjpe"] for row in rows]
    scores = [row["held_out_pose_score"] for row in rows]
    kept, stopped = best_look(errors, TOLERANCE, PATIENCE)
    return {
        "run": name,
        "start_mm": errors[0],
        "best_mm": min(errors),
        "end_mm": errors[-1],
        "kept_mm": errors[kept],
        "kept_step": rows[kept]["step"],
        "steps": rows[-1]["step"],
        "stopped": stopped,
        "score_start": scores[0],
        "score_end": scores[-1],
        "passes_its_optimum": errors[-1] > (1 + TOLERANCE) * min(errors),
    }


def measure_before(setting: Setting, said: dict[str, str], work: Path) -> None:
    """What the base gives, and what the judge reads off true views."""
    true = judge_quality(setting.critic.judge, setting.test)
    maps = skeleton_quality(setting.critic.score.network, setting.test, setting.critic.ring, setting.critic.line_width)
    error = 1000 * true["mpjpe"].numpy()
    hard = setting.hard
    kinds = {"ordinary": ~hard, "hard": hard, "all": np.ones_like(hard)}
    readers = {
        "judge, MPJPE mm": float(error.mean()),
        "judge, PA-MPJPE mm": float(1000 * true["pa_mpjpe"].mean()),
        "skeleton network, localisation mm": float(1000 * maps["localisation"].mean()),
        "skeleton network, PSNR of maps dB": float(maps["psnr"].mean()),
        "skeleton network, SSIM of maps": float(maps["ssim"].mean()),
    }
    document = {
        "setting": said,
        "readers": readers,
        "true_views_mm": {kind: float(error[chosen].mean()) for kind, chosen in kinds.items() if chosen.any()},
        "hard": hard.tolist(),
        "base": measured(setting, setting.policy),
        "controls": controls(setting),
    }
    write_json(work / "before.json", document)


def controls(setting: Setting) -> dict[str, dict[str, list[float]]]:
    """Figures of each test person for what the base has to beat."""
    bank, test = setting.data.base, setting.test
    count = len(test.joints)
    chosen = {
        "random body": at_random(count, bank, 0),
        "most central body": torch.full((count,), most_central(bank)),
    }
    views = {name: bank.pixels[index].float() for name, index in chosen.items()}
    views["retrieval by image"] = retrieved(test.pixels[:, 0], bank)
    views["one call of the base"] = one_step(setting.policy, test)
    samples = torch.stack([sampled_views(setting.policy, test, n) for n in range(1, 9)])
    views[MEAN] = samples.mean(0)
    views[MEDOID] = nearest_to_mean(samples)
    views[LIKED] = best_liked(setting, samples)
    return {name: figures_of_views(setting, of) for name, of in views.items()}


def nearest_to_mean(samples: torch.Tensor) -> torch.Tensor:
    """Of samples (sample, person, view, 4, h, w) each person's nearest to the mean of all, by squared pixels."""
    nearest = (samples - samples.mean(0)).square().flatten(2).sum(-1).argmin(0)
    return samples[nearest, torch.arange(samples.shape[1])]


@torch.no_grad()
def best_liked(setting: Setting, samples: torch.Tensor) -> torch.Tensor:
    """Of samples (sample, person, view, 4, h, w) each person's best by the joints that the base reads off the front."""
    joints = setting.policy.network.reader.joints(setting.test.pixels[:, 0].float())
    target = setting.critic.targets(joints)
    best = torch.stack([setting.critic.score(some, target) for some in samples]).argmax(0)
    return samples[best, torch.arange(samples.shape[1])]


def rounded(value: Any) -> Any:
    """A document with five digits of each number, which is more than its tables show."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list) else value


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=ROOT / "runs/multiview_reward", help="folder of the arms")
    parser.add_argument("--base", default="multiview-base", help="name or file of the multi-view base")
    parser.add_argument("--judge", default="multiview-judge", help="name or file of the judge")
    parser.add_argument("--second-judge", type=Path, help="file of a judge that measures and chooses nothing")
    parser.add_argument("--skeleton", default="multiview-skeleton", help="name or file of the skeleton network")
    parser.add_argument("--pose-file", type=Path, help="motion-capture poses, as the base was trained on")
    parser.add_argument("--phase", choices=["before", "rates", "run", "again", "variants", "report"], required=True)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--rates", nargs="+", type=float, default=[1e-4, 3e-4, 1e-3], help="what `rates` tries")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--seconds", type=float, default=120.0, help="of the processor in steps, for each arm")
    parser.add_argument(
        "--base-kind", choices=("all", "ordinary"), default="ordinary", help="poses that the base was trained on"
    )
    parser.add_argument("--persons", type=int, default=768, help="fine-tuning persons")
    parser.add_argument("--base-persons", type=int, default=4096, help="persons of base data")
    parser.add_argument("--held-out", type=int, default=48, help="persons of the guard and of rates")
    parser.add_argument("--test", type=int, default=96, help="ordinary test persons, and as many hard ones")
    parser.add_argument("--out", type=Path, default=RESULTS / "multiview_reward.json", help="where the report goes")
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    args.work.mkdir(parents=True, exist_ok=True)
    if args.phase == "report":
        document = document_of(args.work)
        reading = args.out.with_name(f"{args.out.stem}_reading.md")
        write_json(args.out, rounded(document), indent=None)
        text = text_of(document, reading.read_text(encoding="utf-8") if reading.is_file() else None)
        write_whole(args.out.with_suffix(".md"), text.encode())
        return 0
    setting = opened(args)
    if args.phase == "before":
        said = {
            "base": Path(args.base).name,
            "poses of base data": args.base_kind,
            "fine-tuning persons": str(args.persons),
            "poses of fine-tuning and test persons": "all",
            "held-out persons": str(args.held_out),
            "seconds of the processor": f"{args.seconds:.0f}", "sampler": "DDIM, 10 steps", "K, m": "2, 4",
        }  # fmt: skip
        measure_before(setting, said, args.work)
    if args.phase == "again":
        measure_again(setting, args.work)
    if args.phase == "variants":
        write_json(args.work / "variants.json", variant_rows(setting))
    for name in args.arms if args.phase == "rates" else ():
        for rate in args.rates:
            try_rate(setting, name, rate, args.seconds, args.work)
    for name in args.arms if args.phase == "run" else ():
        for seed in args.seeds:
            run_arm(setting, name, seed, args.seconds, args.work)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
