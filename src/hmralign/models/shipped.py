"""The weights that come with the package, by name; free of imports, so that a mistyped name is refused at once."""

from __future__ import annotations

SHIPPED = ("lite", "lite-lab", "pixel")
"""Names of the weights that come with the package."""


def no_such_checkpoint(name: object) -> str:
    """What is wrong with a checkpoint that is neither shipped nor there."""
    shipped = ", ".join(SHIPPED)
    return f"{name}: no such checkpoint (shipped: {shipped}; otherwise give the path of a .safetensors file)"
