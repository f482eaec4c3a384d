"""`--device`: the one option of every command that computes, and where it is checked."""

from __future__ import annotations

from typing import Annotated, Any

import tyro

Device = Annotated[str, tyro.conf.arg(help="Where networks, critics and training run: cpu, cuda or cuda:N.")]

CPU = "cpu"
"""What every command computes on where nothing is said."""


def check_device(options: Any) -> None:
    """Raise InputError for a device that this machine does not have; fine for options without one."""
    name = getattr(options, "device", CPU)
    if name != CPU:  # else nothing has to be loaded
        from hmralign.structures.device import chosen_device

        chosen_device(name)
