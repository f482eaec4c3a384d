"""Diffusion-based human mesh recovery that learns from preferences.

>>> from hmralign import Recoverer
>>> people = Recoverer.load("lite")("photo.jpg")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hmralign.api import NobodyFound, People, Person, Recoverer, Track, Video

__version__ = "0.1.0"

__all__ = ["NobodyFound", "People", "Person", "Recoverer", "Track", "Video", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the programming interface when it is first used, so that `import hmralign` costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'hmralign' has no attribute {name!r}")
    from hmralign import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted(__all__)
