import asyncio
from dataclasses import replace

import pytest

from hmralign.structures import InputError
from hmralign.vlm.chat import ChatRequest, ImagePart, TextPart, request_key
from hmralign.vlm.openai_chat import OpenAIChat, OpenAIServer
from hmralign.vlm.request_body import request_body, request_of_body
from support.chat_server import ChatServer, judge_request, picture


def no_picture(address: str) -> bytes:
    raise AssertionError(address)


@pytest.mark.parametrize(
    "request_",
    [
        judge_request(),
        judge_request(seed=None, temperature=0.7, top_p=0.5, extra={"top_k": 3}),
        ChatRequest("", (TextPart("a \u2028 b é"), ImagePart(picture(1))), max_tokens=1),
    ],
)
@pytest.mark.parametrize("limit_field", ["max_tokens", "max_completion_tokens"])
def test_a_body_gives_its_request_back(request_, limit_field):
    body = request_body(request_, "m", limit_field=limit_field) | request_.extra
    assert request_of_body(body, no_picture) == replace(request_, limit_field=limit_field)


def test_a_request_with_addresses_has_the_same_key():
    request = judge_request()
    parts = tuple(ImagePart(p.data, f"file:///x/{p.sha256}") if isinstance(p, ImagePart) else p for p in request.parts)
    body = request_body(replace(request, parts=parts), "m", pictures="address")
    data = {f"file:///x/{p.sha256}": p.data for p in request.parts if isinstance(p, ImagePart)}
    assert "base64" not in str(body)
    assert request_key("m", request_of_body(body, data.__getitem__)) == request_key("m", request)


def test_a_schema_that_is_not_sent_is_given_beside():
    request = judge_request()
    body = request_body(request, "m", schema_field="none")
    assert request_key("m", request_of_body(body, no_picture, request.schema)) == request_key("m", request)
    assert request_key("m", request_of_body(body, no_picture)) != request_key("m", request)


def test_it_is_what_arrives_at_a_server():
    request = judge_request(extra={"top_k": 3})
    with ChatServer() as server:
        asyncio.run(OpenAIChat(OpenAIServer(server.address, "m")).complete(request))
    assert server.requests == [request_body(request, "m") | request.extra]


@pytest.mark.parametrize("damage", [{"messages": []}, {"messages": [{"content": [{"type": "sound"}]}]}, {"seed": {}}])
def test_other_bodies_are_refused(damage):
    body = request_body(judge_request(), "m") | damage
    del body["top_p"]
    with pytest.raises(InputError, match="another form"):
        request_of_body(body, no_picture)
