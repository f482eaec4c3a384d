"""Where something is computed: the processor, or an accelerator of this machine."""

from __future__ import annotations

import torch

from hmralign.structures.errors import InputError


def chosen_device(name: str | torch.device) -> torch.device:
    """The device of that name: cpu, cuda (the first one) or cuda:N.

    Raises InputError that names what this machine has, for a device that it does not have and words that are none.
    """
    there = available_devices()
    if str(name) not in there:
        raise InputError(f"there is no device '{name}' here; expected one of {', '.join(there)}")
    return torch.device(name)


def available_devices() -> tuple[str, ...]:
    """Names of the devices of this machine."""
    count = torch.cuda.device_count()
    return ("cpu", *(("cuda",) if count else ()), *(f"cuda:{number}" for number in range(count)))
