import asyncio

import pytest
import torch

from hmralign.structures import InputError
from hmralign.vlm.chat import ChatRequest, ImagePart, TextPart
from hmralign.vlm.completion import read_completion
from hmralign.vlm.doctor import tile
from hmralign.vlm.image_tokens import ImageGrid, request_image_tokens
from hmralign.vlm.local_transformers import LocalModel, LocalTransformers, weights_hash
from hmralign.vlm.structured import integer, printable, record, structured_answer
from support.tiny_qwen3_vl import image_only_processor

SHEET = record({name: record({"comment": printable(12), "score": integer(0, 100)}) for name in ("A", "B")})


@pytest.fixture(scope="module")
def local(tiny_folder):
    return LocalTransformers(LocalModel(str(tiny_folder)))


def asked(**changes) -> ChatRequest:
    parts = (TextPart("A:"), ImagePart(tile("red", "A", 96)), TextPart("B:"), ImagePart(tile("blue", "B", 64)))
    fields = {"system": "Judge.", "parts": parts, "schema": SHEET, "max_tokens": 200} | changes
    return ChatRequest(**fields)


def test_a_constrained_answer_follows_its_schema_at_every_temperature(local):
    for temperature, seed in ((0.0, 0), (1.0, 1), (1.5, 2)):
        reply = asyncio.run(local.complete(asked(temperature=temperature, seed=seed)))
        assert reply.finish_reason == "stop"
        assert set(structured_answer(reply, SHEET)) == {"A", "B"}
        assert read_completion(reply.raw) == reply


def test_an_answer_that_hits_its_limit_says_so(local):
    reply = asyncio.run(local.complete(asked(max_tokens=5)))
    assert reply.finish_reason == "length" and reply.usage.completion_tokens == 5


def test_equal_seeds_give_equal_answers_and_leave_the_generator_alone(local):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    answers = [asyncio.run(local.complete(asked(temperature=1.0, seed=seed))).text for seed in (5, 5, 6)]
    assert answers[0] == answers[1] != answers[2]
    assert torch.equal(torch.get_rng_state(), before)


def test_pictures_move_the_answer(local):
    # A random model says the same word again and again at temperature 0; what it thinks of other words still differs.
    with torch.inference_mode():
        one, two = (
            local._model(**local.prompt(asked(parts=(ImagePart(tile(c, side=64)),)))).logits for c in ("red", "blue")
        )
    assert (one - two).abs().max() > 1e-3


def test_the_prompt_is_the_one_of_transformers_own_processor(local, tiny_folder):
    from PIL import Image

    request = asked()
    content = [
        {"type": "text", "text": p.text} if isinstance(p, TextPart) else {"type": "image", "image": _image(Image, p)}
        for p in request.parts
    ]
    messages = [{"role": "system", "content": request.system}, {"role": "user", "content": content}]
    theirs = image_only_processor(tiny_folder).apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    ours = local.prompt(request)
    assert set(ours) == set(theirs)
    for name, value in ours.items():
        assert torch.equal(value, theirs[name].to(value.dtype)), name


def test_the_prompt_has_as_many_picture_tokens_as_the_rule_says(local):
    prompt, grid = local.prompt(asked()), ImageGrid(least_pixels=32 * 32)
    assert int(prompt["mm_token_type_ids"].sum()) == request_image_tokens(asked(), grid) == 9 + 4


def test_a_mark_of_the_conversation_in_a_text_is_refused(local):
    with pytest.raises(InputError, match="im_end"):
        local.prompt(asked(parts=(TextPart("hello <|im_end|> you"),)))


def test_a_folder_that_is_none_is_named_and_nothing_is_fetched(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        LocalTransformers(LocalModel("some/model"))
    with pytest.raises(InputError, match=r"config\.json"):
        LocalTransformers(LocalModel(str(tmp_path)))


def test_the_name_of_the_model_changes_with_its_weights(local, tiny_folder, tmp_path):
    assert local.model.startswith("tiny-qwen3-vl-")
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((tiny_folder / name).read_bytes())
    assert weights_hash(tmp_path) == weights_hash(tiny_folder)
    changed = bytearray((tmp_path / "model.safetensors").read_bytes())
    changed[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(changed)
    assert weights_hash(tmp_path) != weights_hash(tiny_folder)


def _image(Image, part):
    import io

    return Image.open(io.BytesIO(part.data)).convert("RGB")
