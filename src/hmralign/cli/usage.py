"""The command line's own error: it exists so that wrong options are reported before anything heavy is imported."""


class UsageError(ValueError):
    """An argument or a configuration file is wrong; ends in exit code 2, as `structures.InputError` does."""
