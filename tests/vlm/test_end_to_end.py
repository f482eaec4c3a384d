"""A true Qwen3-VL class behind the true protocol: the server of transformers, in another process."""

import asyncio
import json

import pytest

from hmralign.vlm.asking import Answered, Limits, Question, ask_all
from hmralign.vlm.doctor import examine
from hmralign.vlm.image_tokens import ImageGrid
from hmralign.vlm.journal import Journal
from hmralign.vlm.openai_chat import OpenAIChat, OpenAIServer
from hmralign.vlm.structured import breaches
from support.chat_server import judge_request, read_scores, sheet_schema

GRID = ImageGrid(least_pixels=32 * 32)


@pytest.fixture(scope="module")
def backend(tiny_server, tiny_folder):
    return OpenAIChat(OpenAIServer(tiny_server, str(tiny_folder), timeout=60.0))


def test_a_real_model_scores_pictures_and_a_second_run_asks_nothing(backend, tmp_path):
    asked = [Question(judge_request(10 * i, temperature=1.0, seed=i), read_scores()) for i in range(4)]
    limits = Limits(concurrency=2, check_pictures=GRID)
    with Journal.open(tmp_path / "calls.sqlite") as journal:
        results = asyncio.run(ask_all(backend, journal, asked, limits))
        assert all(isinstance(r, Answered) and set(r.value) == set("ABC") for r in results)
        for result in results:
            reply = journal.answer(result.key).reply()
            assert breaches(json.loads(reply.text), sheet_schema("ABC"), wording=True) == []
            assert reply.usage.prompt_tokens > 12 and reply.finish_reason == "stop"
        again = asyncio.run(ask_all(backend, journal, asked, limits))
        assert [r.calls for r in again] == [0] * 4 and [r.value for r in again] == [r.value for r in results]
        assert journal.spent().calls == 4


def test_the_doctor_reports_what_a_random_model_cannot_do_and_what_its_server_can(backend):
    profile = asyncio.run(examine(backend, most_images=3, at_once=3, grid=GRID))
    assert not profile.sees_images and not profile.keeps_order and not profile.fresh_images and not profile.usable
    assert profile.supports_schema and profile.token_count_ok and profile.deterministic and profile.max_images == 3
    assert any("colours" in note for note in profile.notes)
