"""Speed of groups and of alignment: groups per CPU second, steps per CPU second with kept and with live contexts.

    python benchmarks/speed/alignment_speed.py --data DIR [--groups 512] [--steps 40]

One thread; CPU seconds of the process; `lite-lab`, groups of 16, 256 hypotheses per step. Median of three.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from hmralign.alignment.methods.group import GroupConfig
from hmralign.alignment.scored_groups import load_groups
from hmralign.body.free_body import load_free_body
from hmralign.models.checkpoint import checkpoint_hash, trained_on
from hmralign.policies.lite import LitePolicy
from hmralign.preferences.build import GroupStoreConfig, build_groups
from hmralign.preferences.person_source import ShardSource
from hmralign.systems.align.configuration import recommended
from hmralign.systems.align.run import step_losses
from hmralign.training.preference import choose_trainable, train_policy

ROOT = Path(__file__).parents[2]
BASE = "lite-lab"


def cpu(function) -> float:
    started = time.process_time()
    function()
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "runs/synthwild")
    parser.add_argument("--groups", type=int, default=512)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/alignment_speed.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    body = load_free_body("3k5")
    policy = LitePolicy.load(BASE, body)
    source = ShardSource.open(args.data / "wild_train", args.groups)
    sha256 = checkpoint_hash(BASE)
    rows: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)

        def build(critics, config=GroupStoreConfig(group_size=16)):  # noqa: B008
            return build_groups(policy, body, sha256, trained_on(BASE), source, folder / "groups", config, critics)

        rows["sampled groups"] = args.groups / cpu(lambda: build([]))
        for critic in ("reprojection", "plausibility", "silhouette"):
            rows[f"groups scored by {critic}"] = args.groups / cpu(lambda c=critic: build([c]))
        groups = load_groups(build([]), "reprojection", policy, sha256)
        methods = {
            "best-of-n": recommended("best-of-n"),
            "dpo": recommended("dpo"),
            "group sigmoid": recommended("group"),
            "group sigmoid, kappa": recommended("group", settings=GroupConfig(kappa=0.1)),
            "direct-reward": recommended("direct-reward"),
        }
        for name, config in methods.items():
            for cached in (True, False):
                seconds = []
                for trial in range(3):
                    training = replace(
                        config.training, steps=args.steps, cache_context=cached, check_every=10**6, save_every=10**6
                    )
                    trained = LitePolicy.load(BASE, body)
                    choose_trainable(trained, training)
                    losses = step_losses(trained, policy, groups, body, replace(config, training=training))
                    run = folder / f"{name}_{cached}_{trial}"
                    seconds.append(cpu(lambda t=trained, s=losses, c=training, r=run: train_policy(t, s, c, r)))
                kind = "kept" if cached else "live"
                rows[f"steps of {name}, {kind} contexts"] = args.steps / statistics.median(seconds)
    document = {
        "settings": {"groups": args.groups, "group_size": 16, "steps": args.steps, "batch": 256, "checkpoint": BASE},
        "machine": {"processor": platform.processor() or platform.machine(), "torch": torch.__version__, "threads": 1},
        "per_cpu_second": {name: round(value, 2) for name, value in rows.items()},
    }
    args.out.write_text(json.dumps(document, indent=1) + "\n")
    lines = ["# Speed of groups and alignment", "", *(__doc__ or "").strip().splitlines()[-1:], ""]
    lines += ["| | per CPU second |", "| --- | ---: |"]
    lines += [f"| {name} | {value:.1f} |" for name, value in rows.items()]
    lines += [
        "",
        "Two looks (start and end) are in the time of each run. Command: `python benchmarks/speed/alignment_speed.py`.",
        "",
    ]
    args.out.with_suffix(".md").write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
