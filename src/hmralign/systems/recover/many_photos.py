"""Many photos one after the other: lists, folders and patterns, with a bar that shows how far it is."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from hmralign.data.images import ImageSource, expand_inputs
from hmralign.structures import InputError

logger = logging.getLogger("hmralign.recover")

Answer = TypeVar("Answer")


def photo_sources(photos: str | Path | Iterable[ImageSource]) -> list[ImageSource]:
    """The photos of a folder, a pattern or a file, or those of a list as they are. Raises InputError for none."""
    found = list(expand_inputs([photos]) if isinstance(photos, str | Path) else photos)
    if not found:
        raise InputError("the list of photos is empty; expected paths, arrays or images")
    return found


def each_answer(
    sources: list[ImageSource], recover: Callable[[ImageSource], Answer], *, skip_bad: bool, progress: bool | None
) -> Iterator[Answer]:
    """The answers in order, each when it is asked for; with `skip_bad` a warning names a photo that has none.

    `progress` shows a bar on stderr, which stays there; None shows one, until it ends, where that is a terminal.
    """
    from rich.console import Console
    from rich.progress import Progress

    shown = sys.stderr.isatty() if progress is None else progress
    with Progress(console=Console(stderr=True), transient=not progress, disable=not shown) as bar:
        for source in bar.track(sources, description="recovering"):
            try:
                answer = recover(source)
            except InputError as error:
                if not skip_bad:
                    raise
                logger.warning("left out: %s", error)
                continue
            yield answer
