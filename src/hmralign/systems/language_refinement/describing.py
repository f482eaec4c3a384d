"""People described by a vision-language model, part by part, through the critic's client and journal.

    person -> picture, mirrored picture -> questions per part -> answers -> what was heard of the person

Answers are in the journal before they are used, so that a run that was stopped asks nothing twice. A question without a
usable answer is a failure with its reason; the others go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from hmralign.language.description import PoseDescription
from hmralign.overlays.described_person import PersonPicture, person_jpeg
from hmralign.overlays.overlay import Photo
from hmralign.refinement.description.answers import PartAnswer, parse_part
from hmralign.refinement.description.heard import HeardPerson, PartQuestion, heard, part_questions
from hmralign.refinement.description.prompts import DescribeOptions, part_request, rewrite_request
from hmralign.refinement.description.short_text import ShortText, TextBudget, rewrite_reader, truncated
from hmralign.structures import Observation
from hmralign.vlm.asker import Asker
from hmralign.vlm.asking import Answered, Failed, Question
from hmralign.vlm.chat import ChatReply


@dataclass(frozen=True)
class ShownPerson:
    """A person as a model sees it: JPEG files of the photo around it, and of its mirror image."""

    name: str
    """Decides, with the seed, which prompts are asked."""
    picture: bytes
    mirrored: bytes

    @staticmethod
    def of(name: str, photo: Photo, seen: Observation, style: PersonPicture | None = None) -> ShownPerson:
        """The person of an observation without batch axis. Raises InputError for an empty box."""
        style = style or PersonPicture()
        return ShownPerson(name, person_jpeg(photo, seen, style), person_jpeg(photo, seen, style, mirrored=True))


def describe_people(asker: Asker, people: Sequence[ShownPerson], options: DescribeOptions) -> list[HeardPerson]:
    """What a model says of each person, in their order. Raises as `vlm.asking.ask_all`."""
    return asyncio.run(_describe(asker, people, options))


def short_texts(
    asker: Asker, descriptions: Sequence[PoseDescription], budget: TextBudget, options: DescribeOptions
) -> list[ShortText]:
    """Each description as a text that an encoder takes: as it is where it fits, else rewritten by the model.

    Where no rewriting can be used the text is truncated, and says so. Raises as `vlm.asking.ask_all`.
    """
    return asyncio.run(_shorten(asker, descriptions, budget, options))


async def _shorten(
    asker: Asker, descriptions: Sequence[PoseDescription], budget: TextBudget, options: DescribeOptions
) -> list[ShortText]:
    long = [d for d in descriptions if not budget.holds(d.text())]
    questions = (Question(rewrite_request(d.text(), budget.words, options), rewrite_reader(d, budget)) for d in long)
    try:
        results = iter(await asker.ask(questions))
    finally:
        await asker.close()
    return [
        truncated(d.text(), budget) if budget.holds(d.text()) else _shortened(d, next(results), budget)
        for d in descriptions
    ]


def _shortened(description: PoseDescription, result: Answered[str] | Failed, budget: TextBudget) -> ShortText:
    if isinstance(result, Failed):
        return truncated(description.text(), budget)
    return ShortText(result.value, "rewritten")


async def _describe(asker: Asker, people: Sequence[ShownPerson], options: DescribeOptions) -> list[HeardPerson]:
    asked = [(person, question) for person in people for question in part_questions(person.name, options)]

    def questions() -> Iterator[Question[PartAnswer]]:
        for person, question in asked:
            yield _question(person, question, options)

    try:
        results = await asker.ask(questions())
    finally:
        await asker.close()
    return [
        _heard_person(person.name, [(q, r) for (p, q), r in zip(asked, results, strict=True) if p is person])
        for person in people
    ]


def _question(person: ShownPerson, question: PartQuestion, options: DescribeOptions) -> Question[PartAnswer]:
    picture = person.mirrored if question.mirrored else person.picture
    return Question(part_request(picture, question.part, question.prompt, options), part_reader(options))


def part_reader(options: DescribeOptions) -> Callable[[ChatReply], PartAnswer]:
    """Reads what is said of a part; what it gives raises `AnswerError` for an answer that cannot be used."""
    return lambda reply: parse_part(reply, options.characters)


def _heard_person(name: str, results: list[tuple[PartQuestion, Answered[PartAnswer] | Failed]]) -> HeardPerson:
    answers, failures = [], []
    for question, result in results:
        if isinstance(result, Failed):
            failures.append(f"{question.part.replace('_', ' ')}: {result.reason}")
        else:
            answers.append(heard(question, result.value))
    return HeardPerson(name, tuple(answers), tuple(failures), sum(result.calls for _, result in results))
