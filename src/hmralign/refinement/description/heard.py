"""What was said of one person: answers about each part, brought back from the mirrored picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hmralign.language.description import mirrored_text
from hmralign.language.statements import Part, mirrored_words
from hmralign.refinement.description.answers import PartAnswer, Seen
from hmralign.refinement.description.prompts import ASKED_PARTS, DescribeOptions, chosen_prompts


@dataclass(frozen=True)
class PartQuestion:
    """One question about one part."""

    part: Part
    """As it is called in the picture that is shown: in the mirrored one the person's right arm is a left arm."""
    prompt: str
    mirrored: bool


@dataclass(frozen=True)
class Heard:
    """One usable answer; part and text in the person's own left and right."""

    part: Part
    mirrored: bool
    """Whether it was given of the mirrored picture; sides are exchanged back already."""
    seen: Seen
    text: str


@dataclass(frozen=True)
class HeardPerson:
    """All that was said of one person, and what was not answered."""

    name: str
    answers: tuple[Heard, ...]
    failures: tuple[str, ...] = ()
    """Why questions have no answer, one sentence each."""
    calls: int = 0
    """Made now; answers that the journal had cost none."""

    def texts(self, part: Part) -> tuple[str, ...]:
        """What was said of a part, in the order in which it was asked for."""
        return tuple(heard.text for heard in self.answers if heard.part == part and heard.text)

    def seen_share(self, part: Part) -> float:
        """Share of the answers in which the part was seen, a partly seen one counting half; 0 without an answer."""
        worth = {"clearly": 1.0, "partly": 0.5, "no": 0.0}
        found = [worth[heard.seen] for heard in self.answers if heard.part == part]
        return sum(found) / len(found) if found else 0.0


def part_questions(person: str, options: DescribeOptions) -> Iterator[PartQuestion]:
    """All questions about a person: as it is first, then in the mirror; the same whenever it is asked."""
    for mirrored in (False, True):
        for part in ASKED_PARTS:
            for prompt in chosen_prompts(part, person, options, mirrored=mirrored):
                yield PartQuestion(part, prompt, mirrored)


def heard(question: PartQuestion, answer: PartAnswer) -> Heard:
    """The answer in the person's own left and right."""
    if not question.mirrored:
        return Heard(question.part, False, answer.seen, answer.text)
    mirrored = mirrored_words(question.part)
    part: Part = next(part for part in ASKED_PARTS if part == mirrored)
    return Heard(part, True, answer.seen, mirrored_text(answer.text))
