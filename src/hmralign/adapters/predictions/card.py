"""What a format of predictions says of itself: whose it is, how its files are known, what has to be assumed."""

from __future__ import annotations

from dataclasses import dataclass

from hmralign.adapters.card import NEVER_RUN
from hmralign.data.prediction_file import Skeleton


@dataclass(frozen=True)
class PredictionCard:
    """One format."""

    name: str
    """As in `names.FORMATS`."""
    systems: str
    """Who writes it."""
    source: str
    """Where the keys were read."""
    files: str
    """What its files hold: how one is known."""
    skeleton: Skeleton
    """Whose body is predicted."""
    assumed: tuple[str, ...]
    """What the files do not say and is assumed, a sentence each; a table of their figures repeats it."""
    tried: str = NEVER_RUN
