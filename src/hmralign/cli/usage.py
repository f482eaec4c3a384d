"""What the command line knows before anything is imported: its own error, so that wrong options are told early."""


class UsageError(ValueError):
    """An argument or a configuration file is wrong; ends in exit code 2, as `structures.InputError` does."""


def in_options(sentence: str) -> str:
    """A sentence of the Python interface as the command line says it.

    >>> in_options("'out' is there; expected a new folder, or overwrite=True")
    "'out' is there; expected a new folder, or --overwrite"
    """
    ending = ", or overwrite=True"
    return sentence.removesuffix(ending) + ", or --overwrite" if sentence.endswith(ending) else sentence


DEBUG_VARIABLE = "HMRALIGN_DEBUG"
"""Environment variable with which errors come with a traceback."""
