"""People are described through the client and the journal: nothing asked twice, nothing made up."""

import json
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from hmralign.refinement.description.prompts import ASKED_PARTS, DescribeOptions
from hmralign.structures import InputError, Observation
from hmralign.systems.language_refinement.describing import ShownPerson, describe_people
from hmralign.vlm.asker import Asker
from hmralign.vlm.asking import Limits
from hmralign.vlm.budget import Budget
from hmralign.vlm.chat import ImagePart
from hmralign.vlm.errors import BudgetError
from hmralign.vlm.journal import Journal
from hmralign.vlm.scripted import Scripted

OPTIONS = DescribeOptions(samples=2, mirrored_samples=1)
QUESTIONS = 3 * len(ASKED_PARTS)


def shown(name="a"):
    """The left half of the picture is red, the right half blue; persons of another name have other pictures."""
    photo = np.zeros((80, 80, 3), np.uint8)
    photo[:, :40, 0], photo[:, 40:, 2], photo[..., 1] = 255, 255, ord(name)
    one = torch.zeros(27)
    seen = Observation(
        torch.zeros(27, 2), one, torch.tensor([10.0, 10.0, 70.0, 70.0]), torch.eye(3), torch.tensor(True),
        torch.zeros(48, 48), torch.tensor(False),
    )  # fmt: skip
    return ShownPerson.of(name, photo, seen)


def looks_at_colours(request):
    """Sees which side of the picture is red, and says so of whatever part it is asked about."""
    picture = next(part.data for part in request.parts if isinstance(part, ImagePart))
    pixels = np.asarray(Image.open(BytesIO(picture)).convert("RGB")).astype(int)
    left_is_red = pixels[256, 100, 0] > pixels[256, 400, 0]
    ask = request.parts[2].text
    if "the head can be seen" in ask:
        return json.dumps({"seen": "no", "description": ""})
    return json.dumps({"seen": "clearly", "description": f"The {'left' if left_is_red else 'right'} side is red."})


def describe(journal, answer=looks_at_colours, people=None, budget=None):
    backend = Scripted(answer)
    asker = Asker(backend, journal, Limits(concurrency=2, first_wait=0.0), budget or Budget())
    return describe_people(asker, people or [shown()], OPTIONS), backend


def test_every_part_is_described_in_the_persons_own_sides(tmp_path):
    with Journal.open(tmp_path / "journal.sqlite") as journal:
        (person,), backend = describe(journal)
    assert person.calls == len(backend.requests) == QUESTIONS and person.failures == ()
    assert person.seen_share("head") == 0 and person.texts("head") == ()
    assert {heard.text for heard in person.answers if heard.part != "head"} == {"The left side is red."}
    assert sum(heard.mirrored for heard in person.answers) == len(ASKED_PARTS)


def test_a_run_that_was_stopped_asks_nothing_twice(tmp_path):
    people = [shown("a"), shown("b")]
    with Journal.open(tmp_path / "journal.sqlite") as journal:
        with pytest.raises(BudgetError, match="budget is 30"):
            describe(journal, people=people, budget=Budget(max_calls=30))
        first = journal.spent().calls
        found, backend = describe(journal, people=people)
    assert first == 30 and len(backend.requests) == 2 * QUESTIONS - first
    assert [person.name for person in found] == ["a", "b"]
    assert found[0].calls + found[1].calls == len(backend.requests)


def test_what_cannot_be_used_is_a_failure_with_its_reason_and_the_rest_goes_on(tmp_path):
    def answer(request):
        if "the trunk can be seen" in request.parts[2].text:
            return "I would rather not."
        return looks_at_colours(request)

    with Journal.open(tmp_path / "journal.sqlite") as journal:
        (person,), _ = describe(journal, answer)
    assert len(person.failures) == 3 and all(f.startswith("torso: the answer is not JSON") for f in person.failures)
    assert person.texts("torso") == () and len(person.texts("left_arm")) == 3


def test_an_empty_box_cannot_be_shown():
    seen = Observation(
        torch.zeros(27, 2), torch.zeros(27), torch.tensor([10.0, 10.0, 10.0, 70.0]), torch.eye(3), torch.tensor(True),
        torch.zeros(48, 48), torch.tensor(False),
    )  # fmt: skip
    with pytest.raises(InputError, match="empty"):
        ShownPerson.of("a", np.zeros((80, 80, 3), np.uint8), seen)
