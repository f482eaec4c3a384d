"""Type and shape checks of every call, at about half the price of jaxtyping's own decorator.

That one binds the arguments of every call for its messages, and checks them again with what is returned. Here they are
checked once, by beartype around the function, in a scope of axis sizes of its own: the same annotations, each of which
is held. A function is prepared when it is first called, since a process of tests calls a part of them.
"""

import functools
import inspect
import types
from dataclasses import is_dataclass
from typing import Any, ForwardRef, get_args, get_type_hints

import jaxtyping
from beartype import beartype
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import TypeCheckError

thorough = jaxtyping.jaxtyped
"""jaxtyping's decorator, for what is no plain function: generators, coroutines."""


NO_PLAIN_FUNCTION = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


def install(package: str) -> None:
    """Check every call of functions and every new dataclass of modules of the package that are imported from now on."""
    jaxtyping.jaxtyped = checked  # what the hook writes above each definition
    jaxtyping.install_import_hook(package, "beartype.beartype")


def checked(thing=None, /, *, typechecker=None):
    """In the place of `jaxtyping.jaxtyped`."""
    if thing is None:
        return functools.partial(checked, typechecker=typechecker)
    if inspect.isclass(thing):
        if is_dataclass(thing) and "__init__" in vars(thing) and not hasattr(thing.__init__, "__checked__"):
            thing.__init__ = checked(thing.__init__, typechecker=typechecker)
        return thing
    if not isinstance(thing, types.FunctionType) or thing.__code__.co_flags & NO_PLAIN_FUNCTION or typechecker is None:
        return thorough(thing, typechecker=typechecker)
    return _checked_function(thing)


def _checked_function(function: types.FunctionType):
    if not function.__annotations__:
        return function
    annotations = {name: _resolved(a, function.__globals__) for name, a in function.__annotations__.items()}
    prepared = []

    @functools.wraps(function)
    def call(*args, **kwargs):
        __tracebackhide__ = True
        if not prepared:
            prepared.append(_by_beartype(function, annotations))
        with thorough("context"):
            try:
                return prepared[0](*args, **kwargs)
            except BeartypeCallHintViolation as violation:
                raise TypeCheckError(f"{function.__module__}.{violation}") from violation

    call.__checked__ = True
    return call


def _by_beartype(function: types.FunctionType, annotations: dict[str, Any]):
    if getattr(function, "__no_type_check__", False):
        return function
    copy = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__, copy.__qualname__, copy.__module__ = (
        function.__kwdefaults__, function.__qualname__, function.__module__,
    )  # fmt: skip
    copy.__annotations__ = annotations
    return beartype(copy)


def _resolved(annotation: Any, namespace: dict[str, Any]) -> Any:
    """What a quoted annotation means where it stands; Any if a name in it is not there, such as one for pyright."""
    if not _quoted(annotation):
        return annotation

    def probe():
        pass

    probe.__annotations__ = {"value": annotation}
    try:
        return get_type_hints(probe, namespace, include_extras=True)["value"]
    except Exception:
        return Any


def _quoted(annotation: Any) -> bool:
    return isinstance(annotation, str | ForwardRef) or any(_quoted(part) for part in get_args(annotation))
