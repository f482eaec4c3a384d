"""How a run ended, as a number: the table of `docs/exit_codes.md`."""

DONE = 0
"""All that was asked for is there."""
DEFECT = 1
"""This program, or its installation, is at fault."""
WRONG_INPUT = 2
"""Nothing could be done with what was given, or it could not be written; one sentence says what is wrong."""
SOME_FAILED = 3
"""Some photos or groups have no result, or a budget or the server ended the run; what is there stays."""
STOPPED = 130
"""Ctrl-C."""
UNREAD = 141
"""Nobody reads the output any more, as after `| head`; the number that a shell gives for SIGPIPE."""
