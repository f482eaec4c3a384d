"""How many tokens a request costs, known before it is sent.

Qwen3-VL sees a picture as one token per square of 32 pixels (patches of 16, merged 2 x 2); pictures are first resized
to whole squares between two limits of area. Source: `smart_resize` of the Qwen-VL processors; the processor of a server
may have other limits, which is what `hmralign critic doctor` measures.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

from hmralign.structures.counted import counted
from hmralign.structures.errors import InputError
from hmralign.vlm.chat import ChatReply, ChatRequest, ImagePart, TextPart
from hmralign.vlm.errors import AnswerError

CHARACTERS_PER_TOKEN = 3.5
"""English text and JSON under a vocabulary of 150 k; cautious, so that an estimate is rather too high."""
TOKENS_PER_PART = 4
"""Marks around a turn or a picture."""


@dataclass(frozen=True)
class ImageGrid:
    """How a model cuts pictures into tokens."""

    square: int = 32
    """Side of what one token sees, pixels."""
    least_pixels: int = 256 * 256
    """Smaller pictures are enlarged to this area."""
    most_pixels: int = 4096 * 4096
    """Larger pictures are reduced to this area."""


QWEN3_VL = ImageGrid()


def image_tokens(width: int, height: int, grid: ImageGrid = QWEN3_VL) -> int:
    """Tokens of a picture of `width` x `height` pixels.

    >>> image_tokens(384, 384), image_tokens(768, 384), image_tokens(64, 64)
    (144, 288, 64)
    """
    if width <= 0 or height <= 0 or max(width, height) > 200 * min(width, height):
        raise InputError(f"a picture of {width} x {height} pixels cannot be shown; expected sides up to 200 to 1")
    rows, columns = round(height / grid.square), round(width / grid.square)
    area = rows * columns * grid.square**2
    # The order of operations is the processor's: a side that is a whole number of squares must round the same way.
    if area > grid.most_pixels:
        scale = math.sqrt(height * width / grid.most_pixels)
        rows, columns = (max(1, math.floor(side / scale / grid.square)) for side in (height, width))
    elif area < grid.least_pixels:
        scale = math.sqrt(grid.least_pixels / (height * width))
        rows, columns = (math.ceil(side * scale / grid.square) for side in (height, width))
    return rows * columns


def picture_size(data: bytes) -> tuple[int, int]:
    """Width and height from the header of an image file. Raises InputError where it is none."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as image:
            return image.size
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise InputError(f"a picture of {counted(len(data), 'byte')} is no JPEG, PNG or WebP file") from error


def request_image_tokens(request: ChatRequest, grid: ImageGrid = QWEN3_VL) -> int:
    """Tokens of all pictures of a request."""
    images = [part for part in request.parts if isinstance(part, ImagePart)]
    return sum(image_tokens(*picture_size(image.data), grid) for image in images)


def estimated_prompt_tokens(
    request: ChatRequest, grid: ImageGrid = QWEN3_VL, characters_per_token: float = CHARACTERS_PER_TOKEN
) -> int:
    """Pictures by the rule, words by the length of the text. The schema is not part of the prompt."""
    characters = len(request.system) + sum(len(p.text) for p in request.parts if isinstance(p, TextPart))
    marks = TOKENS_PER_PART * (2 + len(request.parts))
    return request_image_tokens(request, grid) + math.ceil(characters / characters_per_token) + marks


def check_pictures_were_read(request: ChatRequest, reply: ChatReply, grid: ImageGrid = QWEN3_VL) -> None:
    """Raise `AnswerError` where the server read fewer tokens than the pictures alone have.

    Servers ignore pictures, or cut the prompt to their context, and still answer with status 200 (Ollama issue 13084,
    Qwen3-VL issue 1505). Only call it for servers whose count was found to follow the rule. A reply without usage
    passes.
    """
    expected = request_image_tokens(request, grid)
    read = reply.usage.prompt_tokens
    if read is not None and read < expected:
        raise AnswerError(
            f"the server read {read} tokens where the pictures alone have {expected}: it ignored pictures or cut the "
            "prompt; raise its context length or send fewer pictures",
            trouble="prompt_cut",
        )
