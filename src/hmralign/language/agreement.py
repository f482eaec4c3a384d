"""How far statements hold for bodies: soft truths for critics, and a loss that a typed sentence pulls with."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hmralign.language.description import PoseDescription
from hmralign.language.quantities import Quantity, measured
from hmralign.language.statements import STATEMENTS, row_of
from hmralign.structures import InputError

_STEEPNESS = 4.0
"""One softness inside of a bound, a statement is 98 % true."""


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _layout(
    asked: tuple[int, ...] | None = None,
) -> tuple[tuple[Quantity, ...], Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Quantities without repetition; each condition's quantity, statement, low, high and softness."""
    conditions = [(row, c) for row in asked or range(len(STATEMENTS)) for c in STATEMENTS[row].conditions]
    quantities = tuple(dict.fromkeys(c.quantity for _, c in conditions))
    place = {q: i for i, q in enumerate(quantities)}
    columns = torch.tensor([place[c.quantity] for _, c in conditions])
    rows = torch.tensor([row for row, _ in conditions])
    low, high, scale = (torch.tensor([getattr(c, name) for _, c in conditions]) for name in ("low", "high", "scale"))
    return quantities, columns, rows, low, high, scale


def margins(
    joints: Float[Tensor, "n joints 3"],
    rotmats: Float[Tensor, "n joints 3 3"] | None = None,
    up: Float[Tensor, " 3"] | Float[Tensor, "n 3"] | None = None,
) -> Float[Tensor, "n statements"]:
    """How far inside of its bands each statement is, in units of softness; it holds where this is at least 0.

    The worst of its conditions counts. NaN for statements that need rotations where none are given. Arguments and
    errors as `hmralign.language.quantities.measured`.
    """
    inside, rows = _conditions(joints, rotmats, up)
    worst = inside.new_full((len(joints), len(STATEMENTS)), torch.inf)
    return worst.scatter_reduce(1, rows.to(inside.device).expand(len(joints), -1), inside, "amin")


def _conditions(
    joints: Tensor, rotmats: Tensor | None, up: Tensor | None, asked: tuple[int, ...] | None = None
) -> tuple[Tensor, Tensor]:
    """Margins of conditions (n, conditions), and whose conditions they are; those of some statements where asked."""
    quantities, columns, rows, low, high, scale = _layout(asked)
    value = measured(quantities, joints, rotmats, up)[:, columns]
    low, high, scale = (bound.to(value) for bound in (low, high, scale))
    return torch.minimum(value - low, high - value) / scale, rows


def measure(
    joints: Float[Tensor, "n joints 3"],
    rotmats: Float[Tensor, "n joints 3 3"] | None = None,
    up: Float[Tensor, " 3"] | Float[Tensor, "n 3"] | None = None,
) -> Float[Tensor, "n statements"]:
    """Soft truth of every statement, in the order of `STATEMENTS`: 0.5 at the edge of its band, 1 well inside.

    Differentiable. NaN for statements that need rotations where none are given. Arguments as `margins`.
    """
    return (_STEEPNESS * margins(joints, rotmats, up)).sigmoid()


def holds(
    joints: Float[Tensor, "n joints 3"],
    rotmats: Float[Tensor, "n joints 3 3"] | None = None,
    up: Float[Tensor, " 3"] | Float[Tensor, "n 3"] | None = None,
) -> Bool[Tensor, "n statements"]:
    """Whether every statement holds; false where it needs rotations and none are given. Arguments as `margins`."""
    return margins(joints, rotmats, up) >= 0


def wanted(descriptions: Sequence[PoseDescription]) -> Float[Tensor, "n statements"]:
    """What descriptions say of each statement: 1 that it holds, -1 that it does not, 0 nothing."""
    signs = torch.zeros(len(descriptions), len(STATEMENTS))
    for row, description in enumerate(descriptions):
        for statement, true in description.statements:
            signs[row, row_of(statement)] = 1.0 if true else -1.0
    return signs


def statement_loss(
    joints: Float[Tensor, "n joints 3"],
    wanted: Float[Tensor, "n statements"] | Float[Tensor, "1 statements"],
    rotmats: Float[Tensor, "n joints 3 3"] | None = None,
    up: Float[Tensor, " 3"] | Float[Tensor, "n 3"] | None = None,
    margin: float | Float[Tensor, " n"] = 0.0,
) -> Float[Tensor, " n"]:
    """How far bodies are from what is wanted of them; 0 where all of it holds, differentiable.

    `wanted` weighs statements: positive where one shall hold, negative where it shall not, 0 where nothing is said.
    Each condition that fails costs half the square of what is missing up to one softness and grows linearly from there;
    a statement that shall not hold costs how far inside its bands the body is. The mean by weight over what is wanted;
    0 where that is nothing. With a `margin` it shall hold by so many softnesses, or fail by them: at the edge itself a
    statement is as true as not. Other arguments as `margins`.
    Raises InputError where head statements are wanted and no rotations are given.
    """
    weight = wanted.to(joints).expand(len(joints), -1)
    cost = statement_costs(joints, wanted, rotmats, up, margin) * weight.abs()
    return cost.sum(-1) / weight.abs().sum(-1).clamp(min=1e-9)


def statement_costs(
    joints: Float[Tensor, "n joints 3"],
    wanted: Float[Tensor, "n statements"] | Float[Tensor, "1 statements"],
    rotmats: Float[Tensor, "n joints 3 3"] | None = None,
    up: Float[Tensor, " 3"] | Float[Tensor, "n 3"] | None = None,
    margin: float | Float[Tensor, " n"] = 0.0,
) -> Float[Tensor, "n statements"]:
    """What each wanted statement costs, unweighted; 0 for those that are not wanted. All else as `statement_loss`."""
    if rotmats is None:
        _require_no_head(wanted)
    # Most sentences make few statements: measuring those alone makes a step of a refinement several times cheaper.
    asked = tuple((wanted != 0).any(0).nonzero()[:, 0].tolist())
    inside, rows = _conditions(joints, rotmats, up, asked or (0,))
    inside = inside.nan_to_num(nan=0.0, posinf=torch.inf)
    weight = wanted.to(inside).expand(len(joints), -1)
    of_rows = rows.to(inside.device).expand(len(joints), -1)
    by = torch.as_tensor(margin).to(inside).expand(len(joints))[:, None]
    missing = torch.zeros_like(weight).scatter_add(1, of_rows, _huber(by - inside))
    worst = torch.full_like(weight, torch.inf).scatter_reduce(1, of_rows, inside, "amin")
    return torch.where(weight > 0, missing, torch.where(weight < 0, _huber(worst + by), torch.zeros_like(worst)))


def _huber(excess: Tensor) -> Tensor:
    """0 below 0, half the square up to 1, then linear."""
    over = excess.clamp(min=0)
    return torch.where(over < 1, over.square() / 2, over - 0.5)


def _require_no_head(wanted: Tensor) -> None:
    rotated = [row for row, statement in enumerate(STATEMENTS) if statement.needs_rotations]
    asked = [STATEMENTS[row].id for row in rotated if bool((wanted[:, row] != 0).any())]
    if asked:
        raise InputError(f"'{asked[0]}' is measured on rotations; expected those of the bodies beside the joints")


def agreement(
    joints: Float[Tensor, "n joints 3"],
    wanted: Float[Tensor, "n statements"] | Float[Tensor, "1 statements"],
    rotmats: Float[Tensor, "n joints 3 3"] | None = None,
    up: Float[Tensor, " 3"] | Float[Tensor, "n 3"] | None = None,
) -> Float[Tensor, " n"]:
    """Mean soft truth of what is wanted, by weight, in [0, 1]; 0.5 where nothing is. Arguments as `statement_loss`.

    What cannot be measured without rotations is left out.
    """
    truth = measure(joints, rotmats, up)
    weight = wanted.to(truth).expand(len(joints), -1) * truth.isfinite()
    right = torch.where(weight > 0, truth, 1 - truth).nan_to_num(0.0)
    total = weight.abs().sum(-1)
    return torch.where(total > 0, (right * weight.abs()).sum(-1) / total.clamp(min=1e-9), 0.5)
