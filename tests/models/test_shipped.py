"""A name that is no checkpoint is refused with the names that would have done: those of its own kind."""

import pytest

from hmralign.body.free_body import load_free_body
from hmralign.models.checkpoint import load_checkpoint
from hmralign.models.language.checkpoint import load_pose_space, load_text_space
from hmralign.models.language.refiner_checkpoint import load_refiner
from hmralign.models.scorer_checkpoint import load_scorer
from hmralign.models.side_gate import load_side_gate
from hmralign.structures import InputError

SKELETON = load_free_body("3k5").skeleton_hash


@pytest.mark.parametrize(
    ("load", "shipped"),
    [
        (lambda name: load_checkpoint(name, SKELETON), "(shipped: lite, lite-lab, pixel; otherwise"),
        (lambda name: load_scorer(name, SKELETON), "(shipped: scorer, scorer-lab; otherwise"),
        (lambda name: load_refiner(name, SKELETON), "(shipped: refiner; otherwise"),
        (lambda name: load_text_space(name, SKELETON), "(shipped: pose-text; otherwise"),
        (load_side_gate, "(shipped: sides; otherwise"),
        (lambda name: load_pose_space(name, SKELETON), "no such checkpoint; expected the path"),
    ],
)
def test_the_names_of_the_same_kind_are_told(load, shipped):
    with pytest.raises(InputError, match="nobodys: no such checkpoint") as caught:
        load("nobodys")
    assert shipped in str(caught.value)
