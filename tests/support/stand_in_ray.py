"""As much of Ray as the engine uses, in one process: actors are objects, and one that kills its process dies.

A kill of an actor's process is an exception here (`Killed`), which the units of a test raise.
"""

import gc
import weakref
from types import SimpleNamespace


class Killed(BaseException):
    """What a test's unit raises where a real one's process would be gone."""


class RayError(Exception):
    pass


class RayActorError(RayError):
    pass


class StandInRay:
    """`created` counts actors, `passed` has what went through the object store.

    So many actors as `capacity` says have a place at once, in the order in which they were made; one that nobody holds
    any more, and that has nothing in hand, leaves its place.
    """

    exceptions = SimpleNamespace(RayError=RayError, RayActorError=RayActorError)

    def __init__(self):
        self.running, self.created, self.options_given, self.passed = False, 0, {}, []
        self.capacity, self.alive = 100, weakref.WeakSet()

    def is_initialized(self):
        return self.running

    def init(self, **how):
        self.running = True

    def shutdown(self):
        self.running = False

    def remote(self, cls):
        return _Made(self, cls)

    def wait(self, results, num_returns):
        gc.collect()
        placed = sorted(self.alive, key=lambda handle: handle.number)[: self.capacity]
        ready = [result for result in results if result.handle in placed]
        assert ready, "Ray would wait for ever: no actor with a place has anything in hand"
        return ready[-num_returns:], [r for r in results if r not in ready[-num_returns:]]  # the last one first

    def get(self, result):
        return result()


class _Made:
    def __init__(self, ray, cls):
        self.ray, self.cls = ray, cls

    def options(self, **how):
        self.ray.options_given = how
        return self

    def remote(self, *arguments):
        self.ray.created += 1
        return _Handle(self.ray, lambda: self.cls(*arguments))


class _Handle:
    def __init__(self, ray, make):
        self.ray, self.make_it, self.actor, self.dead, self.number = ray, make, None, False, ray.created
        ray.alive.add(self)

    def __getattr__(self, name):
        return SimpleNamespace(remote=lambda *arguments: _Result(self, name, arguments))

    def _call(self, name, arguments):
        if self.dead:
            raise RayActorError("dead before")
        try:
            self.actor = self.actor or self.make_it()
            answer = getattr(self.actor, name)(*arguments)
        except Killed as error:
            self.dead = True
            raise RayActorError("The actor died unexpectedly\nand more") from error
        except Exception as error:
            raise RayError(f"ray::actor\n{type(error).__name__}: {error}") from error
        self.ray.passed += [*arguments, answer]
        return answer


class _Result:
    """What an actor has in hand."""

    def __init__(self, handle, name, arguments):
        self.handle, self.name, self.arguments = handle, name, arguments

    def __call__(self):
        return self.handle._call(self.name, self.arguments)
