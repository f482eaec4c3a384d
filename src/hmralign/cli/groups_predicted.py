"""`hmralign groups FILE.npz`: hypotheses that another system predicted become groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hmralign.cli.groups_options import (
    DEFAULT_CRITIC,
    GroupsOptions,
    check_pairs,
    checked_critics,
    computed,
    flag_of,
    given_options,
)
from hmralign.cli.groups_sampled import made_by
from hmralign.cli.run_file import write_run_file
from hmralign.cli.usage import UsageError

if TYPE_CHECKING:
    from hmralign.preferences.store import GroupStore

_NOT_FOR_PREDICTIONS = (
    "checkpoint", "group_size", "num_steps", "runtime", "with_truth", "persons", "detector", "detector_folder",
)  # fmt: skip
"""Options that mean nothing where another system has predicted the hypotheses."""


def from_predictions(options: GroupsOptions) -> tuple[GroupStore, tuple[str, ...]]:
    """A store of what another system predicted, new or continued."""
    from hmralign.adapters.predictions.opened import open_predictions
    from hmralign.body.free_body import load_free_body
    from hmralign.preferences.predictions import build_prediction_groups

    for name in given_options(options, _NOT_FOR_PREDICTIONS):
        raise UsageError(f"{flag_of(name)} is given, but '{options.source[0]}' holds hypotheses; nothing is sampled")
    if options.out is None:
        raise UsageError("--out is missing; expected the folder of the store")
    if not options.predicted_by.strip():
        raise UsageError(f"--predicted-by is missing; expected the name of the system that made '{options.source[0]}'")
    checked_critics(options.critic)
    critics = options.critic or (DEFAULT_CRITIC,)
    predictions, body = open_predictions([options.source[0]]), load_free_body("3k5")
    check_pairs(options, predictions.num_hypotheses)
    store = build_prediction_groups(
        predictions, options.out, computed(critics), predicted_by=options.predicted_by, body=body,
        shard_size=options.shard_size, correlation=options.correlation, seed=options.seed or 0,
        device=options.device,
    )  # fmt: skip
    write_run_file(options.out, "groups", options, made_by(options, store, body, {}))
    return store, critics
