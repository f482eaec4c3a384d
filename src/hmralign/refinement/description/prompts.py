"""Requests for descriptions of a pose, part by part, and for a shorter text of the same content.

Source: VL-feedback (paper 003), sec. V-A and V-B: ten prompts per part of the body, and a reorganisation to what a
text encoder takes; the words are our own. The same part is asked about several times with different prompts, some of
them over the mirrored picture, where a model that knows left from right says the opposite side.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hmralign.critics.vlm.prompt_files import LATEST, PromptFile, read_prompt
from hmralign.critics.vlm.prompts import IN_THE_BOX
from hmralign.language.statements import PARTS, Part
from hmralign.refinement.description.answers import part_schema, rewrite_schema
from hmralign.storage.seeds import derived_seed
from hmralign.structures import InputError
from hmralign.structures.counted import counted
from hmralign.vlm.chat import ChatRequest, ImagePart, TextPart

ASKED_PARTS: tuple[Part, ...] = tuple(part for part in PARTS if part != "view")
"""Parts that have prompts; how the person is turned to the camera is asked with the whole body and the trunk."""

PROMPTS_PER_PART = 10

_FOLDER = Path(__file__).parent / "prompts"
_CHARACTERS_PER_WORD = 8
_LONGEST_TEXT = 4000


@dataclass(frozen=True)
class DescribeOptions:
    """How a model is asked to describe a person."""

    version: str = LATEST
    """Version of the prompts."""
    samples: int = 3
    """Answers about each part over the picture as it is, each to another prompt."""
    mirrored_samples: int = 2
    """Answers about each part over the mirrored picture; 0 leaves left and right unchecked."""
    part_words: int = 40
    """The longest answer about a part."""
    temperature: float = 0.4
    """Several answers at 0 would differ by their prompts alone."""
    top_p: float = 1.0
    seed: int = 0
    """Seed of the choice of prompts, and of the model's sampling."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Fields that only one server knows."""

    def __post_init__(self) -> None:
        """Raise InputError for numbers of samples and words without meaning."""
        if not 1 <= self.samples <= PROMPTS_PER_PART or not 0 <= self.mirrored_samples <= PROMPTS_PER_PART:
            raise InputError(
                f"descriptions: samples is {self.samples} and mirrored_samples {self.mirrored_samples}; expected 1 to "
                f"{PROMPTS_PER_PART} and 0 to {PROMPTS_PER_PART}, as many as there are prompts"
            )
        if not 5 <= self.part_words <= 200:
            raise InputError(f"descriptions: part_words is {self.part_words}; expected 5 to 200")

    @property
    def characters(self) -> int:
        """The longest answer about a part, in characters."""
        return self.part_words * _CHARACTERS_PER_WORD

    @property
    def record(self) -> dict[str, Any]:
        """What decides an answer: the settings, and the hashes of all prompts."""
        names = ("describe", "rewrite", *sorted({_file(part) for part in ASKED_PARTS}))
        hashes = {name: read_prompt(name, self.version, _FOLDER).sha256 for name in names}
        rest = {n: getattr(self, n) for n in self.__dataclass_fields__}
        return {**rest, "prompts_sha256": hashes}


def part_prompts(part: Part, version: str = LATEST) -> tuple[str, ...]:
    """The ten prompts about a part, with the side filled in."""
    prompt = read_prompt(_file(part), version, _FOLDER)
    lines = prompt.fill("prompts", **_side(part)).splitlines()
    return tuple(line.removeprefix("- ") for line in lines if line.startswith("- "))


def chosen_prompts(part: Part, person: str, options: DescribeOptions, *, mirrored: bool) -> tuple[str, ...]:
    """Different prompts, one for each sample: which ones depends on person, part and seed alone."""
    prompts = part_prompts(part, options.version)
    first = derived_seed(options.seed, "prompts", person, part) % len(prompts)
    start, count = (options.samples, options.mirrored_samples) if mirrored else (0, options.samples)
    return tuple(prompts[(first + start + n) % len(prompts)] for n in range(count))


def part_request(picture: bytes, part: Part, prompt: str, options: DescribeOptions) -> ChatRequest:
    """Ask one prompt about a part of the person in the red box of a JPEG file. `answers.parse_part` reads the answer.

    The picture comes first, so that a server with a prefix cache reads it once for all parts.
    """
    frame = read_prompt("describe", options.version, _FOLDER)
    name = read_prompt(_file(part), options.version, _FOLDER).fill("part", **_side(part))
    ask = frame.fill("ask", prompt=prompt, part=name, words=options.part_words)
    parts = (TextPart(frame.fill("photo", target=IN_THE_BOX)), ImagePart(picture), TextPart(ask))
    schema = part_schema(options.characters)
    return _request(frame, parts, schema, "part", 64 + 4 * options.part_words, options)


def rewrite_request(text: str, words: int, options: DescribeOptions) -> ChatRequest:
    """Ask for a text of at most so many words that says the same. `answers.parse_rewrite` reads the answer.

    Raises InputError for a text that no set of part descriptions can be.
    """
    if not text.strip() or len(text) > 4 * _LONGEST_TEXT:
        raise InputError(f"a text of {counted(len(text), 'character')} to shorten; expected 1 to {4 * _LONGEST_TEXT}")
    frame = read_prompt("rewrite", options.version, _FOLDER)
    parts = (TextPart(frame.fill("ask", text=text, words=words)),)
    schema = rewrite_schema(min(_LONGEST_TEXT, words * _CHARACTERS_PER_WORD))
    return _request(frame, parts, schema, "rewrite", 64 + 4 * words, options)


def _request(
    frame: PromptFile,
    parts: tuple[TextPart | ImagePart, ...],
    schema: dict[str, Any],
    name: str,
    tokens: int,
    options: DescribeOptions,
) -> ChatRequest:
    return ChatRequest(
        frame.fill("system"), parts, schema, name, tokens, options.temperature, options.top_p, options.seed,
        options.extra,
    )  # fmt: skip


def _file(part: Part) -> str:
    """Arms share their prompts, and so do legs."""
    return part.rpartition("_")[2]


def _side(part: Part) -> dict[str, str]:
    return {"side": part.partition("_")[0]} if "_" in part else {}
