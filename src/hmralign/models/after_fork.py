"""Torch in a forked process."""

from __future__ import annotations

import os

import torch

_ready_in = os.getpid()
"""The process in which this module was imported, or the forked one that has been made ready."""


def make_torch_ready() -> None:
    """Have torch compute with one thread in a process that was forked, as torch's own data loaders do.

    OpenMP's threads do not survive a fork: the first operation that is shared among them would wait forever. Call it
    where a process may have inherited a model. Does nothing in any other process.
    """
    global _ready_in
    if os.getpid() != _ready_in:
        torch.set_num_threads(1)
        _ready_in = os.getpid()
