import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from hmralign.structures import InputError
from hmralign.vlm.chat import ChatReply, ChatRequest, ImagePart, Usage
from hmralign.vlm.errors import AnswerError
from hmralign.vlm.image_tokens import (
    QWEN3_VL,
    ImageGrid,
    check_pictures_were_read,
    estimated_prompt_tokens,
    image_tokens,
    picture_size,
    request_image_tokens,
)
from support.chat_server import judge_request

SMALL = ImageGrid(least_pixels=32 * 32)


@settings(derandomize=True, deadline=None)
@given(st.integers(1, 128), st.integers(1, 128))
def test_whole_squares_within_the_limits_count_one_each(rows, columns):
    if QWEN3_VL.least_pixels <= rows * columns * 1024 <= QWEN3_VL.most_pixels and max(rows, columns) <= 200 * min(
        rows, columns
    ):
        assert image_tokens(32 * columns, 32 * rows) == rows * columns


@settings(derandomize=True, deadline=None)
@given(st.integers(20, 9000), st.integers(20, 9000), st.sampled_from([QWEN3_VL, SMALL, ImageGrid(32, 4096, 65536)]))
def test_the_count_is_the_one_of_the_processor(width, height, grid):
    if max(width, height) > 200 * min(width, height):
        return
    high, wide = smart_resize(height, width, 32, grid.least_pixels, grid.most_pixels)
    assert image_tokens(width, height, grid) == high * wide // 1024


def test_pictures_that_cannot_be_shown_are_refused():
    for size in ((0, 10), (4000, 10)):
        with pytest.raises(InputError):
            image_tokens(*size)
    with pytest.raises(InputError, match="no JPEG"):
        picture_size(b"GIF89a not a picture")


def test_sizes_are_read_from_the_header():
    buffer = io.BytesIO()
    Image.new("RGB", (96, 64)).save(buffer, "PNG")
    assert picture_size(buffer.getvalue()) == (96, 64)
    assert request_image_tokens(ChatRequest("", (ImagePart(buffer.getvalue()),)), SMALL) == 6


def test_more_words_and_more_pictures_cost_more():
    base = estimated_prompt_tokens(judge_request())
    assert estimated_prompt_tokens(judge_request(labels="ABCD")) > base + 60
    assert estimated_prompt_tokens(judge_request(system="word " * 70)) >= base + 90


def test_a_prompt_without_its_pictures_is_found_out():
    request = judge_request()
    expected = request_image_tokens(request)
    check_pictures_were_read(request, ChatReply("x", usage=Usage(expected + 20)))
    check_pictures_were_read(request, ChatReply("x"))
    with pytest.raises(AnswerError, match="ignored pictures or cut") as caught:
        check_pictures_were_read(request, ChatReply("x", usage=Usage(expected - 1)))
    assert caught.value.trouble == "prompt_cut"
