"""What the HTML report says about refined people."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from hmralign.body.model import BodyModel
from hmralign.detection.observe import photo_title
from hmralign.reports.refinement_report import RefinedPersonPage, RefinementReport, SaidRow
from hmralign.structures.counted import counted
from hmralign.structures.errors import shown
from hmralign.structures.shown_name import shown_name
from hmralign.systems.language_refinement.pictures import RefinedPictures
from hmralign.systems.language_refinement.refined import RefinedPeople, RefinedPerson, moved_limbs

SOURCES = {
    "typed": "typed by the user",
    "vlm": "said by a vision-language model",
    "caption": "our captioner's words on the initial body",
}
_LONGEST_TYPED = 600
"""Characters of typed words that are shown."""
CAVEATS = (
    "A refinement does what it is told: keypoints that are wrong and words that are wrong move the body as well. Look "
    "at the limbs that were not spoken of.",
    "Left and right are the person's own.",
)
CONTROL = "The words are a caption of the initial body itself: a control, which can teach nothing new."
UNAUDITED = (
    "Descriptions of vision-language models are near chance on parts of the body in a public study; they count as much "
    "as their audit says, and little where there is none."
)


def refinement_report(
    refined: RefinedPeople,
    meshes: Sequence[Float[Tensor, "step vert 3"]],
    pictures: Sequence[RefinedPictures],
    body: BodyModel,
) -> RefinementReport:
    """The report of refined people whose meshes at every step (`cam` metres) are `meshes`."""
    persons = [
        person_page(person, mesh, drawn, body)
        for person, mesh, drawn in zip(refined.persons, meshes, pictures, strict=True)
    ]
    steps = len(refined.persons[0].refinement.steps.transl) - 1
    words = sum(person.wanted_text for person in refined.persons)
    said = "no words" if words == 0 else "words" if len(persons) == 1 else f"words on {words} of them"
    summary = (
        f"{counted(len(persons), 'person', 'people')}, {counted(steps, 'step')}, {said}; the slider goes from the "
        "initial body to the refined one"
    )
    photo = refined.people.photo
    title = shown_name(refined.people.source if photo is None else photo_title(photo))
    return RefinementReport(f"Refined bodies in {title}", summary, persons, _facts(refined), _caveats(refined))


def person_page(
    person: RefinedPerson, mesh: Float[Tensor, "step vert 3"], drawn: RefinedPictures, body: BodyModel
) -> RefinedPersonPage:
    """What the report shows of one person whose meshes at every step (`cam` metres) are `mesh`."""
    found = person.refinement
    said = [SaidRow(name.replace("_", " "), *rest) for name, *rest in person.truths(body)]
    return RefinedPersonPage(
        name=shown_name(person.start.name),
        steps=mesh.numpy(),
        faces=body.faces.numpy(),
        K=person.start.observation.K.numpy(),
        window=drawn.window,
        photo=drawn.photo,
        keypoint_loss=found.keypoint_loss.numpy(),
        text_loss=found.text_loss.numpy() if person.wanted_text else None,
        figures=drawn.captioned,
        said=said,
        facts=_person_facts(person, body),
    )


def _person_facts(person: RefinedPerson, body: BodyModel) -> dict[str, str]:
    description = person.wish.description
    facts = {} if person.wish.typed is None else {"Typed": shown(" ".join(person.wish.typed.split()), _LONGEST_TYPED)}
    if description is not None:
        name = "Words" if person.wish.typed is None else "Understood as"
        facts |= {name: description.text(), "Words are": SOURCES[description.source]}
    moved = moved_limbs(person, body)
    seen = person.start.observation.confidence
    return {
        **facts,
        "Keypoints": f"{int((seen > 0).sum())} of {len(seen)} observed",
        "Moved against the pelvis": ", ".join(f"{limb} {100 * value:.1f} cm" for limb, value in moved.items()),
    }


def _facts(refined: RefinedPeople) -> dict[str, str]:
    config = refined.config
    return {
        "Started from": shown_name(refined.people.source),
        "Diffusion": f"{counted(config.num_steps, 'step')}, start noise {config.start_noise:g}",
        "Weights": f"keypoints {config.pull.keypoint_weight:g}, words {config.pull.text_weight:g}",
    }


def _caveats(refined: RefinedPeople) -> tuple[str, ...]:
    sources = {p.wish.description.source for p in refined.persons if p.wish.description is not None}
    notes = [note for person in refined.persons for note in person.notes]
    more = [CONTROL] * ("caption" in sources) + [UNAUDITED] * ("vlm" in sources)
    return (*refined.notes, *notes, *more, *CAVEATS)
