"""What a fine-tuning and an evaluation open: the base, the networks that read views, and persons by purpose."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool
from torch import Tensor

from hmralign.body.free_body import load_free_body
from hmralign.critics.view_figures import ViewCritic
from hmralign.data.synthetic.hard_poses import is_hard
from hmralign.models.multiview.pose_score import PoseScore
from hmralign.models.multiview.reader_checkpoint import load_judge, load_skeleton
from hmralign.policies.multiview import MultiViewPolicy
from hmralign.rendering.ring_persons import RingPersons
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.training.multiview_base import MultiViewTrainingConfig, view_persons
from hmralign.training.multiview_readers import judge_on_ring


@dataclass(frozen=True)
class ReadersConfig:
    """The networks that read views."""

    judge: str = "multiview-judge"
    """Name or path of the judge."""
    skeleton: str = "multiview-skeleton"
    """Name or path of the networks of PoseScore."""
    perceptual_weight: float = 0.1
    """Weight of PoseScore's perceptual term; 0 is BCE alone."""


@dataclass(frozen=True)
class PersonsConfig:
    """Persons, by purpose; their poses, cameras and seed are those of base training."""

    drawn_as: MultiViewTrainingConfig = field(default_factory=MultiViewTrainingConfig)
    """Poses, cameras, ring, pose file and seed, and of base persons the kind; the rest of it does not matter here."""
    fine_tuning: int = 768
    """Persons whose fronts and joints are seen."""
    base: int = 4096
    """Persons whose renders the base loss sees."""
    held_out: int = 48
    """Persons at whom the judge looks."""
    test: int = 96
    """Ordinary test persons, and as many in hard poses."""

    def __post_init__(self) -> None:
        """Raise InputError for nobody."""
        if min(self.fine_tuning, self.base, self.held_out, self.test) < 1:
            raise InputError("multi-view persons: fine_tuning, base, held_out and test must be at least 1")


def opened_policy(base: str, config: PersonsConfig, device: str | torch.device = "cpu") -> MultiViewPolicy:
    """The base. Raises InputError for one of another ring, and as its loader does."""
    policy = MultiViewPolicy.load(base).to(device)
    found, ring = policy.network.config, config.drawn_as.ring
    if (found.views, found.size) != (ring.num_views, ring.size):
        raise InputError(
            f"{base}: makes {found.views} views of {found.size} pixels; the ring has {ring.num_views} of {ring.size}"
        )
    return policy


def opened_critic(readers: ReadersConfig, config: PersonsConfig, device: str | torch.device = "cpu") -> ViewCritic:
    """The judge and PoseScore for the ring. Errors as their loaders'."""
    skeleton, ring = load_free_body("3k5").skeleton_hash, config.drawn_as.ring
    judge = judge_on_ring(load_judge(readers.judge, skeleton).to(device), ring)
    network, features = load_skeleton(readers.skeleton, skeleton)
    score = PoseScore(network.to(device), features.to(device), readers.perceptual_weight)
    return ViewCritic(judge, score, ring)


def persons_of_test(config: PersonsConfig) -> tuple[RingPersons, Bool[Tensor, " person"]]:
    """Persons in poses of the test split, ordinary ones first, and which are in hard poses.

    Raises InputError where so many of a kind do not turn up.
    """
    drawn = view_persons(config.drawn_as, 4 * config.test, "test", "test")
    hard = is_hard(drawn.joints)
    kinds = [(~hard).nonzero()[: config.test, 0], hard.nonzero()[: config.test, 0]]
    if min(map(len, kinds)) < config.test:
        raise InputError(
            f"of {counted(len(hard), 'test person')} only {int(hard.sum())} are in hard poses; ask for fewer"
        )
    chosen = torch.cat(kinds)
    return drawn[chosen], hard[chosen]
