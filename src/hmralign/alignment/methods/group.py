"""Whole groups with advantages.

| mode | source |
| --- | --- |
| `literal` | GPA, Shen et al. 2026, eq. 6 |
| `group_sigmoid` | DGPO, Luo et al. 2025; what the public GPA code has (`GPA_CODE`) |
| `nft` | DiffusionNFT, Zheng et al. 2025, eq. 5 |
| `sigmoid`, `hinge`, `positive` | ours: bounded relatives of `literal` |

| in code | symbol |
| --- | --- |
| `policy`, `reference` | L_theta, L_ref: squared noise errors, one per sample |
| `advantages` | A_i |
| `beta` | beta T lambda_t of the papers, in one number |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from hmralign.alignment.advantages import BelowFloor, group_advantages
from hmralign.alignment.drift import drift_of
from hmralign.alignment.method import OfflineMethod, require_weights
from hmralign.alignment.scored_groups import ScoredGroups, speaking_groups
from hmralign.structures import InputError
from hmralign.training.objective import Items, Losses, Objective, Shared

GroupMode = Literal["literal", "sigmoid", "group_sigmoid", "hinge", "positive"]


@dataclass(frozen=True)
class GroupConfig:
    """Whole groups with advantages (GPA eq. 6 and its bounded relatives)."""

    mode: GroupMode | Literal["nft"] = "sigmoid"
    """See `group`; `nft` is the two-branch form of DiffusionNFT."""
    beta: float = 30.0
    """Sharpness of sigmoids; without effect in the other modes."""
    nft_beta: float = 1.0
    """`nft`: share of the new prediction in its branches."""
    margin: float = 0.5
    """`hinge`: worse members have no say beyond it."""
    kappa: float = 0.0
    """Weight of the drift from the reference."""
    anchor: float = 0.0
    """Weight of plain denoising on better members."""
    normalize: bool = True
    """Divide by the standard deviation within the group."""
    std_floor: float = 1e-3
    """Smallest standard deviation of scores that says something, in units of the critic."""
    below_floor: BelowFloor = "drop"
    """What happens to groups below it; with `add` the floor is added to every standard deviation instead, and no group
    is left out."""
    clip: float | None = None
    """Bound on |A|."""
    group_weights: Literal["equal", "std"] = "equal"
    """Whether groups of more distinct scores weigh more."""
    shares: Shared = "nothing"
    """What the members of a group share: with `nothing` each has a time and a noise of its own, which is less noisy per
    step; with `time_and_noise` all have one of each, as GPA eq. 6 is printed and its code does. Either way policy and
    reference see the same."""
    by_parts: bool = False
    """The form once on the losses of joints and once on those of twists, added, as the public GPA code does."""
    inside: Literal["sum", "mean"] = "sum"
    """`group_sigmoid`: A d is added over the group inside the sigmoid, or averaged. The public GPA code does not divide
    by G."""
    unscaled: bool = False
    """Sigmoids are left as they are, not divided by beta, and that of a whole group not by G. Matters only beside other
    terms, such as `denoising`."""
    preference: float = 1.0
    """Weight of the form itself; 0 leaves only what stands beside it, a control."""
    denoising: float = 0.0
    """Weight of plain denoising on all members, better and worse alike (`anchor` is on better ones alone)."""
    t_from: float = 0.0
    """Times are uniform on the rest of the schedule from this share on; 0.5 of 1000 is 500..999."""
    drawn: int | None = None
    """Members drawn anew from the stored group whenever it is seen, with advantages among them; None takes all."""

    def __post_init__(self) -> None:
        """Raise InputError for values without meaning, and choices that exclude each other."""
        weights = {"kappa": self.kappa, "anchor": self.anchor, "preference": self.preference}
        require_weights("group", beta=self.beta, nft_beta=self.nft_beta, denoising=self.denoising, **weights)
        if not 0 <= self.t_from < 1:
            raise InputError(f"group: t_from is {self.t_from}; expected a share of the schedule, 0 to 1 (1 excluded)")
        if self.drawn is not None and (self.drawn < 2 or self.group_weights == "std"):
            raise InputError(
                f"group: drawn is {self.drawn}; expected at least 2, and group_weights = equal, since weights of whole "
                "groups are not those of drawn members"
            )
        if self.by_parts and (self.kappa > 0 or self.mode == "nft"):
            raise InputError("group: drift and nft are of whole vectors; expected kappa = 0 and another mode by_parts")


GPA_PAPER = GroupConfig(mode="literal", shares="time_and_noise")
"""GPA eq. 6 as printed, one t and one eps per group, with kappa = 0: no lower bound, so a run is ended by its guard or
its number of steps."""

GPA_CODE = GroupConfig(
    mode="group_sigmoid", beta=100.0, by_parts=True, unscaled=True, preference=0.1, denoising=1.0, t_from=0.5,
    shares="time_and_noise", std_floor=1e-8, below_floor="add", drawn=20,
)  # fmt: skip
"""What the public code (shenwenhao01/GPA-HMR at 4f4b038) has in eq. 6's place:

    0.1 sum over joints and twists of -log sigmoid(-100 (sum_{A>0} w d - sum_{A<=0} w d)) + L over all members

with w = |A| and A of population standard deviation + 1e-8, so that what is inside is the sum of A d. It also has
lambda_t = 1 (`training.loss_weight: eps`) and, for half of each batch, scores by the truth (`labelled`).
"""


def group(
    policy: Float[Tensor, "*batch hyp"],
    reference: Float[Tensor, "*batch hyp"],
    advantages: Float[Tensor, "*batch hyp"],
    *,
    mode: GroupMode = "sigmoid",
    beta: float = 30.0,
    margin: float = 0.5,
    inside: Literal["sum", "mean"] = "sum",
    unscaled: bool = False,
) -> Float[Tensor, "*batch hyp"]:
    """Terms of a group that lower the losses of better hypotheses and raise those of worse ones.

    With d = L_theta - L_ref:

    - `literal`: A d, GPA eq. 6; whether members share t and eps, as it is printed, is for whoever draws them
      (`GroupConfig.shares`). No lower bound: to be compared, not to be used. `beta` only scales it, so that under Adam
      it does nothing; it is therefore left out.
    - `sigmoid`: -|A| log sigmoid(-sign(A) beta d) / beta, each sample bounded on its own.
    - `group_sigmoid`: -log sigmoid(-beta sum_i A_i d_i) / beta once per group, spread evenly over its members. Members
      with A > 0 pull with weight |A|, those with A <= 0 push with it. `inside` has the mean in place of the sum.
    - `hinge`: A d, but a worse hypothesis has no more say once its d exceeds `margin`.
    - `positive`: A d for better hypotheses only.

    `unscaled` leaves out "/ beta", and gives every member the term of its whole group instead of a share of it.
    """
    d = policy - reference
    if mode == "literal":
        return advantages * d
    scale = 1.0 if unscaled else beta
    if mode == "sigmoid":
        return -advantages.abs() * logsigmoid(-advantages.sign() * beta * d) / scale
    if mode == "group_sigmoid":
        pull = advantages * d
        pull = pull.sum(-1, keepdim=True) if inside == "sum" else pull.mean(-1, keepdim=True)
        whole = -logsigmoid(-beta * pull) / scale
        return (whole if unscaled else whole / d.shape[-1]).expand_as(d)
    if mode == "hinge":
        return torch.where(advantages >= 0, advantages * d, advantages * d.clamp(max=margin))
    return advantages.clamp(min=0) * d


def winner_anchor(
    policy: Float[Tensor, "*batch hyp"], advantages: Float[Tensor, "*batch hyp"]
) -> Float[Tensor, "*batch hyp"]:
    """Plain denoising on better hypotheses, weighed by their advantage: keeps the loss of winners from rising."""
    return advantages.clamp(min=0) * policy


def diffusion_nft(
    prediction: Float[Tensor, "*batch channels"],
    old: Float[Tensor, "*batch channels"],
    target: Float[Tensor, "*batch channels"],
    optimality: Float[Tensor, "*batch"],
    *,
    beta: float = 1.0,
) -> Float[Tensor, "*batch"]:
    """r |v+ - v|^2 + (1 - r) |v- - v|^2 with v+ = (1 - beta) v_old + beta v, v- = (1 + beta) v_old - beta v.

    `optimality` r is in [0, 1], for example (1 + clipped advantage) / 2. At r = 1/2 the two branches pull against each
    other and the optimum is the old model.
    """
    old = old.detach()
    plus = (1 - beta) * old + beta * prediction
    minus = (1 + beta) * old - beta * prediction
    return optimality * (plus - target).square().mean(-1) + (1 - optimality) * (minus - target).square().mean(-1)


def group_items(groups: ScoredGroups, config: GroupConfig) -> Items:
    """Whole groups with their advantages, or with their scores where members are drawn anew."""
    kept = speaking_groups(groups.scores, config.std_floor if config.below_floor == "drop" else 0.0)
    scores = groups.scores[kept]
    if config.drawn is not None:
        return Items(kept, groups.x_0[kept], scores)
    return Items(kept, groups.x_0[kept], _advantages(scores, config) * group_weights(scores, config)[:, None])


def _advantages(scores: Float[Tensor, "group hyp"], config: GroupConfig) -> Float[Tensor, "group hyp"]:
    return group_advantages(
        scores,
        normalize=config.normalize,
        std_floor=config.std_floor,
        below_floor=config.below_floor,
        clip=config.clip,
    )


def group_weights(scores: Float[Tensor, "group hyp"], config: GroupConfig) -> Float[Tensor, " group"]:
    """Weight of each group, on average 1."""
    if config.group_weights == "equal":
        return torch.ones_like(scores[:, 0])
    std = scores.double().std(-1, correction=0)  # float64, as the advantages
    return (std / std.mean().clamp(min=1e-12)).to(scores.dtype)


def group_objective(config: GroupConfig) -> Objective:
    """Items are groups with their advantages."""
    return Objective(
        f"group_{config.mode}",
        lambda losses: _group_terms(losses, config),
        needs_prediction=config.kappa > 0 or config.mode == "nft",
        by_parts=config.by_parts,
        shares=config.shares,
        t_from=config.t_from,
        drawn=config.drawn,
        drawn_weights=lambda scores: _advantages(scores, config),
    )


def _group_terms(losses: Losses, config: GroupConfig) -> Float[Tensor, "item member"]:
    advantages, plain = losses.weights, losses.policy
    if config.mode == "nft":
        assert losses.prediction is not None
        p = losses.prediction
        optimality = 0.5 + 0.5 * advantages.clamp(-1, 1)
        terms = diffusion_nft(p.policy, p.reference, p.target, optimality, beta=config.nft_beta)
    else:
        terms = _form(losses, config)
    if config.by_parts:
        plain = plain.sum(-1)  # (item, member)
    terms = config.preference * terms
    if config.anchor > 0:
        terms = terms + config.anchor * winner_anchor(plain, advantages)
    if config.denoising > 0:
        terms = terms + config.denoising * plain
    return terms + config.kappa * drift_of(losses) if config.kappa > 0 else terms


def _form(losses: Losses, config: GroupConfig) -> Float[Tensor, "item member"]:
    """`group` on whole losses, or on those of each part, added."""
    assert losses.reference is not None

    def form(policy: Tensor, reference: Tensor) -> Tensor:
        choices: dict[str, Any] = {"inside": config.inside, "unscaled": config.unscaled}
        mode: Any = config.mode
        return group(policy, reference, losses.weights, mode=mode, beta=config.beta, margin=config.margin, **choices)

    if not config.by_parts:
        return form(losses.policy, losses.reference)
    parts = zip(losses.policy.unbind(-1), losses.reference.unbind(-1), strict=True)
    return torch.stack([form(ours, theirs) for ours, theirs in parts], dim=-1).sum(-1)


def make_group() -> OfflineMethod:
    """The method `group`. Its rate was chosen on validation persons (docs/results/alignment.md)."""
    return OfflineMethod(
        "group",
        GroupConfig,
        lambda groups, policy, config, generator: group_items(groups, config),
        group_objective,
        learning_rate=1e-3,
    )
