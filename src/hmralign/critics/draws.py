"""What critics draw that draw: numbers from one generator, or of each person from one of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.structures import InputError
from hmralign.structures.counted import counted

Generators = torch.Generator | Sequence[torch.Generator]
"""One generator, whose draws for a person depend on who was judged before; or one for each person of a call."""


def drawn(draw: Callable[..., Tensor], shape: tuple[int, ...], generators: Generators) -> Float[Tensor, "person hyp"]:
    """Numbers of shape (person, hyp) by `draw`: `torch.rand` or `torch.randn`.

    Raises InputError for another number of generators than of persons.
    """
    if isinstance(generators, torch.Generator):
        return draw(shape, generator=generators, device=generators.device)
    if len(generators) != shape[0]:
        raise InputError(
            f"{counted(len(generators), 'generator')} for {counted(shape[0], 'person')}; expected one for each"
        )
    numbers = torch.empty(shape)
    for person, generator in enumerate(generators):
        numbers[person] = draw(shape[1:], generator=generator, device=generator.device)
    return numbers
