"""The weights that come with the package, by name; free of imports, so that a mistyped name is refused at once."""

from __future__ import annotations

from collections.abc import Sequence

SHIPPED = ("lite", "lite-lab", "pixel")
"""Names of the weights that come with the package."""


def no_such_checkpoint(name: object, shipped: Sequence[str] = SHIPPED) -> str:
    """What is wrong with a checkpoint that is neither there nor one of the `shipped` ones of its kind."""
    if not shipped:
        return f"{name}: no such checkpoint; expected the path of a .safetensors file"
    names = ", ".join(shipped)
    return f"{name}: no such checkpoint (shipped: {names}; otherwise give the path of a .safetensors file)"
