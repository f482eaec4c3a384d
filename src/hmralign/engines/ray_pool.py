"""Ray as an engine: an actor pool on a cluster that is there, or on this machine (extra `[ray]`).

Each actor opens the units once, which loads its models, and gets numbers. Images go by path and results by file, on
storage that all nodes see: nothing but numbers passes through the object store, and nothing depends on Ray's
checkpoints. An actor that dies is replaced by Ray, and its number is handed out again; a driver that dies is started
again by hand and goes on with what is missing.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from contextlib import ExitStack
from types import ModuleType
from typing import Any

from hmralign.engines.work import OpenUnits, Units
from hmralign.structures import HmralignError, InputError

logger = logging.getLogger("hmralign.engines")

ATTEMPTS = 4
"""How often a number is handed out before the run ends: an actor that dies takes its number with it."""


def require_ray() -> ModuleType:
    """The library. Raises InputError where it is not installed."""
    try:
        import ray  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError(
            'the engine ray needs the library of that name, which is not installed; `pip install "hmralign[ray]"`, or '
            "leave --engine out for processes of this machine"
        ) from error
    return ray


class UnitActor:
    """What an actor is: opened units that make numbers."""

    def __init__(self, open_units: OpenUnits, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self._stack = ExitStack()
        self._units: Units = self._stack.enter_context(open_units())

    def missing(self) -> list[int]:
        """Numbers of the units that are to be made."""
        return self._units.missing()

    def make(self, number: int) -> tuple[int, str]:
        """The number, and what was wrong with it in one sentence, or nothing."""
        try:
            self._units.make(number)
        except (HmralignError, OSError) as error:
            return number, str(error) or type(error).__name__
        return number, ""

    def process(self) -> int:
        """Number of its process, for who wants to kill it."""
        return os.getpid()


def run_ray_pool(open_units: OpenUnits, workers: int, *, cpus: float = 1.0, gpus: float = 0.0) -> None:
    """Make the units that are missing with so many actors, each with so many CPUs and GPUs of the cluster.

    Joins the cluster that is running (`RAY_ADDRESS`) or starts one here. Raises InputError without Ray, with the first
    sentence of a unit that is wrong, and where the actors of one unit died `ATTEMPTS` times.
    """
    ray = require_ray()
    if workers < 1:
        raise InputError(f"{workers} workers; expected at least 1")
    own = not ray.is_initialized()
    if own:
        ray.init(log_to_driver=False, include_dashboard=False)
    try:
        Pool(ray, open_units, cpus, gpus).run(workers)
    finally:
        if own:
            ray.shutdown()


class Pool:
    """Actors that are free, numbers that wait, and who has which."""

    def __init__(self, ray: Any, open_units: OpenUnits, cpus: float, gpus: float) -> None:
        self.ray, self.open_units, self.threads = ray, open_units, max(1, int(cpus))
        # Retries are ours: Ray does not count what it hands out again by itself.
        self.actor = ray.remote(UnitActor).options(num_cpus=cpus, num_gpus=gpus, max_restarts=0, max_task_retries=0)
        self.idle: list[Any] = []
        self.busy: dict[Any, tuple[Any, int]] = {}

    def run(self, workers: int) -> None:
        """Make what is missing. Errors as `run_ray_pool`."""
        self.idle = [self._start()]
        waiting = deque(self._of_actor(self.idle[0].missing.remote()))
        attempts = dict.fromkeys(waiting, 0)
        self.idle += [self._start() for _ in range(min(workers, len(waiting)) - 1)]
        while waiting or self.busy:
            while waiting and self.idle:
                attempts[waiting[0]] += 1
                self._hand_out(waiting.popleft())
            number, died = self._next_one()
            if died and attempts[number] >= ATTEMPTS:
                raise InputError(f"unit {number}: its actors died {ATTEMPTS} times; the last one said: {died}")
            if died:
                logger.warning("unit %d: its actor died; another one makes it", number)
                waiting.appendleft(number)
                self.idle.append(self._start())
            elif not waiting:
                self.idle.clear()  # Ray ends them: an actor that found no CPU yet may have a unit in hand

    def _hand_out(self, number: int) -> None:
        actor = self.idle.pop()
        self.busy[actor.make.remote(number)] = (actor, number)

    def _start(self) -> Any:
        return self.actor.remote(self.open_units, self.threads)

    def _next_one(self) -> tuple[int, str]:
        """The number that ends next, and how its actor died, or nothing."""
        (finished, *_), _ = self.ray.wait(list(self.busy), num_returns=1)
        actor, number = self.busy.pop(finished)
        try:
            _, wrong = self.ray.get(finished)
        except self.ray.exceptions.RayActorError as error:
            return number, _first_line(error)
        if wrong:
            raise InputError(wrong)
        self.idle.append(actor)
        return number, ""

    def _of_actor(self, answer: Any) -> list[int]:
        """What an actor answers. Raises InputError with its own sentence where it could not begin."""
        try:
            return self.ray.get(answer)
        except self.ray.exceptions.RayError as error:
            raise InputError(f"an actor could not begin: {_last_line(error)}") from error


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1][:500]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
