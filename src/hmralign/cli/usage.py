"""What the command line knows before anything is imported: its own error, so that wrong options are told early."""


class UsageError(ValueError):
    """An argument or a configuration file is wrong; ends in exit code 2, as `structures.InputError` does."""


DEBUG_VARIABLE = "HMRALIGN_DEBUG"
"""Environment variable with which errors come with a traceback."""
