"""The body that the groups of a store belong to."""

from __future__ import annotations

from hmralign.body.free_body import load_free_body
from hmralign.body.model import BodyModel
from hmralign.preferences.store import StoreFacts
from hmralign.structures import InputError


def stored_body(facts: StoreFacts) -> BodyModel:
    """The free body that a store's groups belong to. Raises InputError where they are of another."""
    for size in ("3k5", "7k"):
        body = load_free_body(size)
        if body.mesh_hash == facts.mesh_hash:
            return body
    raise InputError(
        f"the groups belong to a body with the mesh {facts.mesh_hash[:12]}, which is none of this program's; "
        "score and draw them through the Python API, with that body"
    )
