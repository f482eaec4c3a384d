"""As much of Ray as the engine uses, in one process: actors are objects, and one that kills its process dies.

A kill of an actor's process is an exception here (`Killed`), which the units of a test raise.
"""

from types import SimpleNamespace


class Killed(BaseException):
    """What a test's unit raises where a real one's process would be gone."""


class RayError(Exception):
    pass


class RayActorError(RayError):
    pass


class StandInRay:
    """`created` counts actors, `passed` has what went through the object store."""

    exceptions = SimpleNamespace(RayError=RayError, RayActorError=RayActorError)

    def __init__(self):
        self.running, self.created, self.options_given, self.passed = False, 0, {}, []

    def is_initialized(self):
        return self.running

    def init(self, **how):
        self.running = True

    def shutdown(self):
        self.running = False

    def remote(self, cls):
        return _Made(self, cls)

    def wait(self, results, num_returns):
        return results[-num_returns:], results[:-num_returns]  # the last one is ready first

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
        self.ray, self.make_it, self.actor, self.dead = ray, make, None, False

    def __getattr__(self, name):
        return SimpleNamespace(remote=lambda *arguments: lambda: self._call(name, arguments))

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
