import asyncio
import json

import pytest

from hmralign.structures import InputError
from hmralign.vlm.chat import ChatReply, ImagePart, Usage
from hmralign.vlm.doctor import COLOURS, TILE, ServerProfile, examine, tile
from hmralign.vlm.errors import ServerError
from hmralign.vlm.image_tokens import QWEN3_VL, estimated_prompt_tokens, image_tokens, request_image_tokens
from hmralign.vlm.openai_chat import OpenAIChat, OpenAIServer
from hmralign.vlm.scripted import Scripted
from support.chat_server import ChatServer

BY_BYTES = {tile(colour, letter): colour for colour in COLOURS for letter in "AB"}


class Server:
    """Sees perfectly, but for what `fault` names."""

    def __init__(self, fault=""):
        self.fault, self.first, self.calls = fault, None, 0

    def __call__(self, request):
        self.calls += 1
        images = [p.data for p in request.parts if isinstance(p, ImagePart)]
        tokens = estimated_prompt_tokens(request)
        if self.fault == "no pictures counted":
            tokens -= request_image_tokens(request)
        if self.fault == "five pictures" and len(images) > 5:
            raise ServerError("at most 5 images", trouble="request", status=400)
        if self.fault == "blind" and images:
            images = [tile("green", "A"), tile("green", "B")][: len(images)]
        if self.fault == "down":
            raise ServerError("no connection", trouble="connection")
        usage = Usage(None if self.fault == "no usage" else tokens, 9)
        return ChatReply(self.text(request, images), usage=usage)

    def text(self, request, images):
        if request.schema and "zone" in request.schema["properties"]:
            return "The sea is blue." if self.fault == "no schema" else '{"zone": "north", "count": 12}'
        if not request.schema:
            return "yes"
        colours = [BY_BYTES[data] for data in images]
        if self.fault == "order":
            colours = colours[::-1]
        if self.fault == "stale":
            self.first = self.first or colours
            colours = self.first
        answer = json.dumps(dict(zip("AB", colours, strict=False)))
        if self.fault == "prose":
            return "I see two pictures."
        return answer + " " * (self.calls if self.fault == "random" else 0)


def examined(fault="", **more):
    return asyncio.run(examine(Scripted(Server(fault)), **{"most_images": 12, **more}))


def failed(profile):
    names = (
        "sees_images", "keeps_order", "fresh_images", "supports_schema", "token_count_ok", "deterministic",
        "deterministic_under_load",
    )  # fmt: skip
    return {name for name in names if not getattr(profile, name)}


def test_a_good_server_passes_without_a_note():
    profile = examined()
    assert failed(profile) == set() and profile.max_images == 12 and profile.notes == () and profile.usable
    assert profile.picture_check() == QWEN3_VL


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("blind", {"sees_images", "keeps_order", "fresh_images"}),
        ("prose", {"sees_images", "keeps_order", "fresh_images"}),
        ("order", {"keeps_order", "fresh_images"}),
        ("stale", {"sees_images", "keeps_order", "fresh_images"}),
        ("no schema", {"supports_schema"}),
        ("no pictures counted", {"token_count_ok"}),
        ("no usage", {"token_count_ok"}),
        ("random", {"deterministic", "deterministic_under_load"}),
        ("five pictures", set()),
    ],
)
def test_each_fault_is_found_and_only_it_and_said_in_words(fault, expected):
    profile = examined(fault)
    assert failed(profile) == expected and profile.notes
    assert profile.max_images == (5 if fault == "five pictures" else 12)
    assert profile.usable == (not expected & {"sees_images", "keeps_order", "fresh_images"})


def test_a_cache_that_gives_the_answer_to_other_pictures_is_named():
    assert any("cache" in note for note in examined("stale").notes)


@pytest.mark.parametrize("most", [1, 2, 3, 5, 7, 12, 33])
def test_the_number_of_pictures_is_found_exactly(most):
    assert examined("five pictures", most_images=most).max_images == min(5, most)


def test_a_server_that_is_not_there_raises():
    with pytest.raises(ServerError):
        examined("down")


def test_a_profile_goes_through_a_file():
    profile = examined("order")
    assert ServerProfile.from_json(profile.to_json()) == profile
    for text in ("", "[]", "{}", '{"notes": [], "foreign": 1}'):
        with pytest.raises(InputError, match="sees_images"):
            ServerProfile.from_json(text)


def test_over_a_socket_with_a_server_that_only_knows_scores():
    with ChatServer() as server:
        profile = asyncio.run(
            examine(OpenAIChat(OpenAIServer(server.address, "stub", schema_field="response_format")), most_images=2)
        )
    assert not profile.usable and profile.max_images == 0 and profile.notes


def test_tiles_differ_and_are_not_enlarged():
    assert len(set(BY_BYTES)) == 12 and image_tokens(TILE, TILE) == (TILE // 32) ** 2
