"""Methods by the words that a user writes."""

from __future__ import annotations

from hmralign.alignment.method import Method
from hmralign.alignment.names import METHODS
from hmralign.structures import InputError
from hmralign.structures.extensions import is_extension, load_extension, made_by


def make_method(name: str) -> Method:
    """The method of that name, one of `METHODS` or code of the user's own, which is called without arguments.

    Raises InputError for a name that is no method, and for code of the user's that makes none.
    """
    if name not in METHODS and not is_extension("methods", name):
        raise InputError(f"there is no method '{name}'; expected one of {', '.join(METHODS)}, or FILE.py:FUNCTION")
    method = made_by(name, load_extension("methods", METHODS.get(name, name)))
    if not isinstance(method, Method):
        raise InputError(
            f"{name}: made a {type(method).__name__}, which is no method (see `hmralign.alignment.method`)"
        )
    return method
