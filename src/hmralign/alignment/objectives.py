"""Offline objectives: per-sample denoising losses of policy and reference in, unreduced terms out.

Losses are mean squared noise errors at one (t, eps) per sample, the *same* for policy and reference: independent noise
ruins every objective that compares the two. `weights` multiply terms; whoever trains reduces them.

| function | source |
| --- | --- |
| `weighted_denoising` (SFT, best-of-N) | Ho et al. 2020; RAFT, Dong et al. 2023 |
| `dpo` | Wallace et al. 2024, eq. 14; ADHMR eq. 5 |
| `kto` | Ethayarajh et al. 2024, eq. 8, as public ADHMR code has it without its supervised part |
| `group` | GPA eq. 6 (`literal`); DGPO, Luo et al. 2025 (`group_sigmoid`); the other modes are ours |
| `drift` | KL of the GPA paper to its reference, as the squared difference of the two predictions |
| `diffusion_nft` | Zheng et al. 2025, eq. 5 |

| in code | symbol |
| --- | --- |
| `policy`, `reference` | L_theta, L_ref: squared noise errors, one per sample |
| `advantages` | A_i |
| `beta` | beta T lambda_t of the papers, in one number |
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

GroupMode = Literal["literal", "sigmoid", "group_sigmoid", "hinge", "positive"]


def weighted_denoising(
    policy: Float[Tensor, "*batch"], weights: Float[Tensor, "*batch"] | None = None
) -> Float[Tensor, "*batch"]:
    """Plain denoising on chosen samples: truth, pseudo-labels, the group's mean, its best members."""
    return policy if weights is None else policy * weights


def dpo(
    policy_chosen: Float[Tensor, "*batch"],
    policy_rejected: Float[Tensor, "*batch"],
    reference_chosen: Float[Tensor, "*batch"],
    reference_rejected: Float[Tensor, "*batch"],
    *,
    beta: float,
) -> Float[Tensor, "*batch"]:
    """-log sigmoid(-beta ((L_w - L_l)_theta - (L_w - L_l)_ref)); log 2 where policy and reference agree.

    A trailing axis of parts (joints, twists) gives one sigmoid per part, as the public ADHMR code does; summed they are
    2 log 2 at the start.
    """
    delta = (policy_chosen - policy_rejected) - (reference_chosen - reference_rejected)
    return -logsigmoid(-beta * delta)


def kto(
    policy: Float[Tensor, "*batch"],
    reference: Float[Tensor, "*batch"],
    desirable: Float[Tensor, "*batch"],
    *,
    beta: float,
) -> Float[Tensor, "*batch"]:
    """1 - sigmoid(sign beta (g - kl)) with g = L_ref - L_theta; `desirable` is +1 or -1.

    kl is the batch's mean gain, not below 0 and without gradient: what counts is doing better than the drift of all.
    """
    gain = reference - policy
    kl = gain.detach().mean().clamp(min=0)
    return 1 - torch.sigmoid(desirable * beta * (gain - kl))


def group(
    policy: Float[Tensor, "*batch hyp"],
    reference: Float[Tensor, "*batch hyp"],
    advantages: Float[Tensor, "*batch hyp"],
    *,
    mode: GroupMode = "sigmoid",
    beta: float = 30.0,
    margin: float = 0.5,
) -> Float[Tensor, "*batch hyp"]:
    """Terms of a group that lower the losses of better hypotheses and raise those of worse ones.

    With d = L_theta - L_ref:

    - `literal`: A d, GPA eq. 6; whether members share t and eps, as it is printed, is for whoever draws them
      (`GroupConfig.shares`). No lower bound: to be compared, not to be used. `beta` only scales it, so that under Adam
      it does nothing; it is therefore left out.
    - `sigmoid`: -|A| log sigmoid(-sign(A) beta d) / beta, each sample bounded on its own.
    - `group_sigmoid`: -log sigmoid(-beta sum_i A_i d_i) / beta once per group, spread evenly over its members.
    - `hinge`: A d, but a worse hypothesis has no more say once its d exceeds `margin`.
    - `positive`: A d for better hypotheses only.
    """
    d = policy - reference
    if mode == "literal":
        return advantages * d
    if mode == "sigmoid":
        return -advantages.abs() * logsigmoid(-advantages.sign() * beta * d) / beta
    if mode == "group_sigmoid":
        whole = -logsigmoid(-beta * (advantages * d).sum(-1, keepdim=True)) / beta
        return (whole / d.shape[-1]).expand_as(d)
    if mode == "hinge":
        return torch.where(advantages >= 0, advantages * d, advantages * d.clamp(max=margin))
    return advantages.clamp(min=0) * d


def winner_anchor(
    policy: Float[Tensor, "*batch hyp"], advantages: Float[Tensor, "*batch hyp"]
) -> Float[Tensor, "*batch hyp"]:
    """Plain denoising on better hypotheses, weighed by their advantage: keeps the loss of winners from rising."""
    return advantages.clamp(min=0) * policy


def drift(
    prediction: Float[Tensor, "*batch channels"], reference: Float[Tensor, "*batch channels"]
) -> Float[Tensor, "*batch"]:
    """Mean squared difference of two noise predictions: KL of the two models at this time, up to its factor."""
    return (prediction - reference.detach()).square().mean(-1)


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
