"""Direct reward fine-tuning of the multi-view base, against supervised continuation at equal CPU.

    python benchmarks/multiview/direct_reward.py --work DIR --base FILE --pose-file FILE --phase before
    python benchmarks/multiview/direct_reward.py --work DIR --base FILE --pose-file FILE --phase run --arms reward base
    python benchmarks/multiview/direct_reward.py --work DIR --base FILE --pose-file FILE --phase variants
    python benchmarks/multiview/direct_reward.py --work DIR --base FILE --pose-file FILE --phase report

Arms begin at the same weights and have the same seconds of the processor in steps, one thread. `run` continues what was
cut off. An arm of the reward goes on to its end without guard; the weights that the guard would have kept are measured
too, since a guarded run is the beginning of the same run without (a test holds it to that). `report` writes
docs/results/multiview_reward.md and .json; docs/results/multiview_reward_reading.md is put at the top.
"""

import argparse
import json
import logging
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from hmralign.alignment.methods.direct_reward import DirectRewardConfig
from hmralign.alignment.multiview_reward import MultiViewRewardConfig, RewardData, fine_tune, sampled_views
from hmralign.critics.view_figures import ViewCritic
from hmralign.storage.whole_file import write_json
from hmralign.training.curve import curve_rows

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs/results"
DRTUNE = DirectRewardConfig(10, "drtune", last_steps=2, stop_within=4, hypotheses=1, kappa=0.01, clamp=1.0)
REWARD = MultiViewRewardConfig(rollout=DRTUNE, guarded=False)


@dataclass(frozen=True)
class Arm:
    """One way to spend the time."""

    says: str
    config: MultiViewRewardConfig
    renders: str = "base"
    """Whose renders the base loss sees: `base`, or `fine-tuning`."""


ARMS = {
    "reward": Arm("reward, KL, base loss beside", REWARD),
    "no-base": Arm("reward, KL", replace(REWARD, base_weight=0.0)),
    "no-kl": Arm("reward, base loss beside", replace(REWARD, rollout=replace(DRTUNE, kappa=0.0))),
    "bare": Arm("reward alone", replace(REWARD, base_weight=0.0, rollout=replace(DRTUNE, kappa=0.0))),
    "lora": Arm("reward, KL, base loss, LoRA rank 8", replace(REWARD, trainable="lora", learning_rate=5e-4)),
    "base": Arm("continuation on base data", replace(REWARD, reward_weight=0.0)),
    "renders": Arm("continuation on the fine-tuning renders", replace(REWARD, reward_weight=0.0), "fine-tuning"),
}
CONTROL = "base"
