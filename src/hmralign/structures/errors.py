"""Errors a user can act on.  One clear sentence that names the offender and says what was expected."""


class HmralignError(Exception):
    """Base of every error this package raises on purpose."""


class InputError(HmralignError, ValueError):
    """The input is wrong: a file, an array, a checkpoint.  The command line turns it into exit code 2."""
