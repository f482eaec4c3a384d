"""What a server can do, found out before money is spent.

Servers answer with status 200 and ignore pictures, their order, or the schema; caches give the answer to another
picture (vLLM issue 20261, SGLang issue 5455); prompts are cut without a word (Ollama issue 13084). A few small calls
show it. What fails is reported as failed: a weak model is no error. Only a server that does not answer at all raises.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from itertools import pairwise

from hmralign.storage.json_file import HEADER, parse_json
from hmralign.structures.counted import counted
from hmralign.structures.errors import InputError
from hmralign.vlm.chat import ChatBackend, ChatReply, ChatRequest, ImagePart, TextPart
from hmralign.vlm.errors import AnswerError, ServerError
from hmralign.vlm.image_tokens import QWEN3_VL, ImageGrid, image_tokens
from hmralign.vlm.structured import choice, integer, read_json, record, structured_answer, usable_text

COLOURS = {
    "red": (220, 30, 30), "green": (30, 160, 40), "blue": (30, 60, 220), "yellow": (240, 220, 30),
    "black": (10, 10, 10), "white": (250, 250, 250),
}  # fmt: skip
TILE = 256
"""Side of a tile, pixels: the smallest picture that Qwen3-VL does not enlarge."""
_ORDERS = (("red", "blue"), ("blue", "red"), ("yellow", "green"))


@dataclass(frozen=True)
class ServerProfile:
    """What was shown; False where it was not, with the reason in `notes`."""

    model: str
    sees_images: bool
    """Names the colours of two tiles."""
    keeps_order: bool
    """And says which came first."""
    fresh_images: bool
    """Answers anew when two tiles under the same words are swapped."""
    supports_schema: bool
    """Keeps to a schema that the words do not ask for."""
    token_count_ok: bool
    """A larger picture costs as many more tokens as the rule says, so the rule can be used as a check."""
    max_images: int
    """Pictures in one request that were accepted, up to the limit of the probe; 0 for none."""
    deterministic: bool
    """The same request twice gives the same answer."""
    deterministic_under_load: bool
    """And so it does several times at once."""
    notes: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether what the server says of pictures can be meant for these pictures."""
        return self.sees_images and self.keeps_order and self.fresh_images

    def picture_check(self, grid: ImageGrid = QWEN3_VL) -> ImageGrid | None:
        """For `Limits.check_pictures`."""
        return grid if self.token_count_ok else None

    def to_json(self) -> str:
        """As text."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: bytes | str) -> ServerProfile:
        """Raises InputError for anything that is not a profile."""
        try:
            value = parse_json(text, HEADER)
            return cls(**{**value, "notes": tuple(value["notes"])})
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"not a profile of a server; expected the fields {_FIELDS}: {error}") from error


_FIELDS = ", ".join(f.name for f in fields(ServerProfile))


async def examine(
    backend: ChatBackend, *, most_images: int = 32, at_once: int = 8, grid: ImageGrid = QWEN3_VL
) -> ServerProfile:
    """Examine a server with about 20 small calls.

    `most_images` bounds the probe for pictures in one request, `at_once` the calls that run at the same time. Raises
    `ServerError` where not even the first call is answered.
    """
    probe = _Probe(backend, grid, [])
    seen = await probe.colours()
    return ServerProfile(
        model=backend.model,
        sees_images=probe.sees_images(seen),
        keeps_order=probe.keeps_order(seen),
        fresh_images=probe.fresh_images(seen),
        supports_schema=await probe.supports_schema(),
        token_count_ok=await probe.token_count_ok(),
        max_images=await probe.max_images(most_images),
        deterministic=await probe.same_answers(2, at_once=1),
        deterministic_under_load=await probe.same_answers(at_once, at_once=at_once),
        notes=tuple(probe.notes),
    )


def colour_request(colours: Sequence[str], seed: int = 0) -> ChatRequest:
    """Asks for the colours of tiles, by the letter on each."""
    letters = [chr(ord("A") + i) for i in range(len(colours))]
    parts: list[TextPart | ImagePart] = []
    for letter, colour in zip(letters, colours, strict=True):
        parts += [TextPart(f"Picture {letter}:"), ImagePart(tile(colour, letter))]
    ask = (
        f"What is the main colour of each picture? Answer in JSON with the keys {', '.join(letters)}; the colours are "
    )
    parts.append(TextPart(f"{ask}{', '.join(COLOURS)}."))
    schema = record({letter: choice(list(COLOURS)) for letter in letters})
    return ChatRequest("You look at pictures.", tuple(parts), schema=schema, max_tokens=20 * len(colours), seed=seed)


@cache
def tile(colour: str, letter: str = "", side: int = TILE) -> bytes:
    """JPEG file of one colour, with a letter."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (side, side), COLOURS[colour])
    if letter:
        ink = "black" if sum(COLOURS[colour]) > 380 else "white"
        ImageDraw.Draw(image).text((side * 0.4, side * 0.3), letter, fill=ink, font=ImageFont.load_default(side * 0.4))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@dataclass
class _Probe:
    backend: ChatBackend
    grid: ImageGrid
    notes: list[str]

    async def colours(self) -> list[tuple[str, ...]]:
        """Answers for each of `_ORDERS`; an empty one where an answer could not be used."""
        first = await self.backend.complete(colour_request(_ORDERS[0]))
        replies = [first, *[await self._reply(colour_request(order)) for order in _ORDERS[1:]]]
        return [self._named(reply, len(order)) for reply, order in zip(replies, _ORDERS, strict=True)]

    def _named(self, reply: ChatReply | None, count: int) -> tuple[str, ...]:
        """Colours by letter; read without the schema, which is another check."""
        if reply is None:
            return ()
        try:
            value = read_json(usable_text(reply))
        except AnswerError as error:
            self.notes.append(f"colours: {error}")
            return ()
        letters = [chr(ord("A") + i) for i in range(count)]
        if not isinstance(value, dict) or not all(isinstance(value.get(letter), str) for letter in letters):
            self.notes.append(f"colours: no colour for each of {', '.join(letters)}")
            return ()
        return tuple(value[letter].strip().lower() for letter in letters)

    def sees_images(self, seen: list[tuple[str, ...]]) -> bool:
        good = all(sorted(s) == sorted(o) for s, o in zip(seen, _ORDERS, strict=True))
        return self._found(good, f"the colours {_said(_ORDERS)} were shown, and the answers were {_said(seen)}")

    def keeps_order(self, seen: list[tuple[str, ...]]) -> bool:
        return self._found(seen == list(_ORDERS), "the order of pictures was not shown to be kept")

    def fresh_images(self, seen: list[tuple[str, ...]]) -> bool:
        stale = bool(seen[0]) and seen[0] == seen[1]
        if stale and seen[0] == _ORDERS[0]:
            self.notes.append("swapped pictures got the old answer: a cache of the server may confuse pictures")
        return seen[:2] == list(_ORDERS[:2])

    async def supports_schema(self) -> bool:
        schema = record({"zone": choice(["north", "south"]), "count": integer(11, 19)})
        words = (TextPart("Write one sentence about the sea."),)
        reply = await self._reply(ChatRequest("", words, schema=schema, max_tokens=60))
        try:
            good = reply is not None and structured_answer(reply, schema) is not None
        except AnswerError as error:
            return self._found(False, f"the schema was not kept: {error}")
        return self._found(good, "a request with a schema was refused")

    async def token_count_ok(self) -> bool:
        """The difference of two sizes: what the words and the template cost is the same in both."""
        sides = (TILE, 2 * TILE)
        counts = []
        for side in sides:
            parts = (ImagePart(tile("red", side=side)), TextPart("Say yes."))
            reply = await self._reply(ChatRequest("", parts, max_tokens=2))
            counts.append(None if reply is None else reply.usage.prompt_tokens)
        if None in counts:
            return self._found(False, "the server does not say how many tokens it read")
        small, large = (image_tokens(side, side, self.grid) for side in sides)
        good = counts[1] - counts[0] == large - small and counts[0] >= small
        return self._found(
            good,
            f"pictures of {small} and {large} tokens made prompts of {counts[0]} and {counts[1]} tokens: this model "
            "counts otherwise, or the server ignores or shrinks pictures",
        )

    async def max_images(self, most: int) -> int:
        """Largest accepted number: doubled until one is refused, then bisected."""
        accepted, refused = 0, most + 1
        number = 1
        while accepted < refused - 1:
            if await self._accepts(number):
                accepted = number
                number = min(2 * number, most) if refused > most else (accepted + refused) // 2
            else:
                refused = number
                number = (accepted + refused) // 2
        if accepted < most:
            self.notes.append(f"{counted(accepted, 'picture')} in one request were accepted, {refused} were not")
        return accepted

    async def _accepts(self, number: int) -> bool:
        parts = (*[ImagePart(tile("green")) for _ in range(number)], TextPart("Say yes."))
        reply = await self._reply(ChatRequest("", parts, max_tokens=2), quiet=True)
        read = None if reply is None else reply.usage.prompt_tokens
        return reply is not None and (read is None or read >= number)

    async def same_answers(self, number: int, at_once: int) -> bool:
        gate = asyncio.Semaphore(at_once)

        async def once() -> ChatReply | None:
            async with gate:
                return await self._reply(colour_request(("white", "black")))

        replies = await asyncio.gather(*[once() for _ in range(number)])
        if any(reply is None for reply in replies):
            return self._found(False, f"{counted(number, 'equal request')}, {at_once} at once, were not all answered")
        same = all(a.text == b.text for a, b in pairwise(r for r in replies if r is not None))
        return self._found(same, f"{counted(number, 'equal request')}, {at_once} at once, got different answers")

    async def _reply(self, request: ChatRequest, *, quiet: bool = False) -> ChatReply | None:
        """None where the server does not answer, also not the second time if that could help."""
        for last in (False, True):
            try:
                return await self.backend.complete(request)
            except ServerError as error:
                if last or not error.retryable:
                    if not quiet:
                        self.notes.append(str(error))
                    return None
                await asyncio.sleep(min(error.retry_after or 0.5, 5.0))
        return None

    def _found(self, good: bool, otherwise: str) -> bool:
        if not good:
            self.notes.append(otherwise)
        return good


def _said(answers: Sequence[Sequence[str]]) -> str:
    return "; ".join(" ".join(answer) or "none" for answer in answers)
