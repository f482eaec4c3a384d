"""Several processes at one training (`accelerate launch`): each has its own parts of a step's batch, gradients add up.

    batch of the step, the same in every process -> own parts -> loss -> gradient -> sum over processes -> step

What is drawn for a step does not depend on who computes it, and parts carry their share of the batch, so that the sum
over processes is the gradient that one process computes, up to the order of additions. Weights, optimiser and average
take the same step everywhere; one process, the first, writes curve and state. A run may be continued by another number
of processes. Models are used as they are, without a wrapper: objectives ask them for more than `forward`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Int
from torch import Tensor, distributed, nn

from hmralign.structures import InputError
from hmralign.structures.counted import counted


def number_of_processes() -> int:
    """How many train together; 1 unless a launcher started more, which says so before they have met."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size()
    return int(os.environ.get("WORLD_SIZE", "1"))


def own_number() -> int:
    """Which of them this one is, from 0."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank()
    return int(os.environ.get("RANK", "0")) if number_of_processes() > 1 else 0


def by_the_first(context: AbstractContextManager) -> AbstractContextManager:
    """Something that one process alone may do, such as hold a folder; nothing in the others."""
    return context if own_number() == 0 else nullcontext()


def own_parts(items: Int[Tensor, " n"], parts: int) -> Iterator[Int[Tensor, " m"]]:
    """This process's share of a batch, in so many parts: all of it where there is one process.

    Raises InputError for a batch that has fewer items than there are processes.
    """
    count = number_of_processes()
    if len(items) < count:
        raise InputError(
            f"a batch has {counted(len(items), 'item')} for {counted(count, 'process', 'processes')}; expected at "
            "least one for each"
        )
    yield from items.tensor_split(min(parts * count, len(items)))[own_number() :: count]


def require_whole_weights() -> None:
    """Raise InputError where a launcher asks for weights in shards: every process has all of them."""
    for variable, name in (("ACCELERATE_USE_FSDP", "FSDP"), ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed")):
        if os.environ.get(variable, "false").lower() == "true":
            raise InputError(
                f"the launcher asks for {name}, and trainings keep their weights whole in every process; expected "
                "`accelerate launch --multi_gpu`, or docs/recipes/accelerate_gpus.yaml"
            )


def require_parts_for_all(items: int, parts: int) -> None:
    """Raise InputError unless every process gets as many parts of a batch: inside of one they wait for each other."""
    count = number_of_processes()
    if count > 1 and items < parts * count:
        raise InputError(
            f"a batch of {counted(items, 'item')} in {counted(parts, 'part')} for {count} processes: expected at least "
            f"{parts * count} items, so that each has as many parts"
        )


def own_draw(*words: str | int) -> tuple[str | int, ...]:
    """Words of a seed for what is drawn anew for every part, such as dropout: the first process's are those of one."""
    return (*words, own_number()) if own_number() else words


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Let every process have the sum of all gradients; a parameter without one counts as zero."""
    by_type: dict[torch.dtype, list[nn.Parameter]] = {}
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        by_type.setdefault(parameter.dtype, []).append(parameter)
    for some in by_type.values():
        whole = torch.cat([p.grad.flatten() for p in some if p.grad is not None])
        distributed.all_reduce(whole)
        for parameter, part in zip(some, whole.split([p.numel() for p in some]), strict=True):
            assert parameter.grad is not None
            parameter.grad.copy_(part.view_as(parameter.grad))


def mean_buffers(model: nn.Module) -> None:
    """Let what norms have measured of each process's items be their mean."""
    for buffer in model.buffers():
        if buffer.is_floating_point():
            distributed.all_reduce(buffer)
            buffer /= number_of_processes()


def sum_figures(figures: Mapping[str, float], device: torch.device) -> dict[str, float]:
    """Sums over processes of figures that all of them have."""
    names = sorted(figures)
    values = torch.tensor([figures[name] for name in names], dtype=torch.float64, device=device)
    distributed.all_reduce(values)
    summed = dict(zip(names, values.tolist(), strict=True))
    return {name: summed[name] for name in figures}


def of_the_first(value: float, device: torch.device) -> float:
    """What the first process has."""
    told = torch.tensor([value], dtype=torch.float64, device=device)
    distributed.broadcast(told, 0)
    return float(told)


def all_hold(holds: bool, device: torch.device) -> bool:
    """Whether something holds in every process."""
    told = torch.tensor([float(holds)], dtype=torch.float64, device=device)
    distributed.all_reduce(told, distributed.ReduceOp.MIN)
    return bool(told > 0)


def require_agreement(step: int, model: nn.Module, device: torch.device) -> None:
    """Raise InputError where processes begin at different steps or with different weights."""
    sums = [float(p.detach().double().sum()) for p in model.parameters()]
    mine = torch.tensor([float(step), *sums], dtype=torch.float64, device=device)
    least, most = mine.clone(), mine.clone()
    distributed.all_reduce(least, distributed.ReduceOp.MIN)
    distributed.all_reduce(most, distributed.ReduceOp.MAX)
    if not torch.equal(least, most):
        raise InputError(
            "the processes of this training begin from different states; all of them have to see the same folder"
        )
