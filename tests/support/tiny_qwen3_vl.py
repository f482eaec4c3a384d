"""A Qwen3-VL of about 210 thousand random weights with tokenizer and image processor, made from code.

Every byte is a token, so any text can be read and any answer written; what it says is nonsense, in the right form when
it is held to a schema. Also its server: transformers' own, with one change, see `serve`.
"""

import contextlib
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
    "<|video_pad|>",
)  # fmt: skip
TEMPLATE = """\
{%- for message in messages -%}<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}\
{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}\
{% endfor %}{% endif %}<|im_end|>
{% endfor -%}{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif -%}"""


def save_tiny_qwen3_vl(folder: Path, seed=0) -> Path:
    """Write the files a user's model folder has."""
    import torch
    from transformers import Qwen2VLImageProcessorPil, Qwen3VLForConditionalGeneration

    tokenizer = byte_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Qwen3VLForConditionalGeneration(_config(tokenizer))
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.do_sample = True  # the server of transformers is greedy otherwise, whatever is asked for
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    Qwen2VLImageProcessorPil(
        patch_size=16, merge_size=2, temporal_patch_size=2, size={"shortest_edge": 32 * 32, "longest_edge": 1 << 24},
        image_mean=[0.5] * 3, image_std=[0.5] * 3,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def byte_tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=TEMPLATE,
        additional_special_tokens=list(SPECIAL),
    )  # fmt: skip


def _config(tokenizer):
    from transformers import Qwen3VLConfig

    number = dict(zip(SPECIAL, tokenizer.convert_tokens_to_ids(list(SPECIAL)), strict=True))
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 2, 2], "mrope_interleaved": True}
    text = dict(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=32768, rope_parameters=rope,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.2,  # so that pictures and words move the answer
    )  # fmt: skip
    vision = dict(
        depth=2, hidden_size=32, intermediate_size=64, num_heads=2, patch_size=16, out_hidden_size=64,
        num_position_embeddings=64, deepstack_visual_indexes=[0], initializer_range=0.2,
    )  # fmt: skip
    return Qwen3VLConfig(
        text_config=text, vision_config=vision, image_token_id=number["<|image_pad|>"],
        video_token_id=number["<|video_pad|>"], vision_start_token_id=number["<|vision_start|>"],
        vision_end_token_id=number["<|vision_end|>"], tie_word_embeddings=True,
    )  # fmt: skip


def image_only_processor(folder: Path):
    """transformers' own processor, without the part for videos, which needs torchvision."""
    from transformers import AutoImageProcessor, AutoTokenizer, Qwen3VLProcessor
    from transformers.processing_utils import ProcessorMixin

    class ImageOnlyProcessor(Qwen3VLProcessor):
        def __init__(self, image_processor=None, tokenizer=None, chat_template=None):
            self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
            self.image_token_id, self.video_token_id = tokenizer.convert_tokens_to_ids(
                [self.image_token, self.video_token]
            )
            ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    images = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return ImageOnlyProcessor(images, tokenizer, chat_template=tokenizer.chat_template)


def app(folder: Path):
    """The server of `transformers serve` for one folder, which keeps to `response_format`: it ignores it otherwise."""
    import llguidance.hf
    from transformers.cli.serving.chat_completion import ChatCompletionHandler
    from transformers.cli.serving.model_manager import ModelManager
    from transformers.cli.serving.server import build_server
    from transformers.cli.serving.utils import GenerationState

    from hmralign.vlm.local_transformers import GrammarMask

    class ImageOnlyManager(ModelManager):
        def _load_processor(self, model_id_and_revision, gguf_file=None):
            return image_only_processor(folder)

    class SchemaHandler(ChatCompletionHandler):
        _unused_fields = ChatCompletionHandler._unused_fields - {"response_format"}

        async def handle_request(self, body, request_id):
            form = body.get("response_format") or {}
            schemas[request_id] = form.get("json_schema", {}).get("schema")
            try:
                return await super().handle_request(body, request_id)
            finally:
                schemas.pop(request_id, None)

        async def _non_streaming(self, request_id, model, processor, model_id, inputs, *args, **kwargs):
            if schema := schemas.get(request_id):
                tokens = llguidance.hf.from_tokenizer(processor.tokenizer, n_vocab=len(processor.tokenizer))
                inputs["logits_processor"] = [GrammarMask(tokens, schema)]
            return await super()._non_streaming(request_id, model, processor, model_id, inputs, *args, **kwargs)

    schemas = {}
    manager, state = ImageOnlyManager(device="cpu", dtype="float32", force_model=str(folder)), GenerationState()
    return build_server(manager, SchemaHandler(manager, state), None, None, None, None, state)


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[str]:
    """The address of a server of the model in another process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, __file__, str(folder), str(port)])
    try:
        _await_health(process, f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(timeout=20)


def _await_health(process, url, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with exit code {process.returncode}")
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        time.sleep(0.1)
    raise RuntimeError(f"the server did not answer within {seconds} s")


if __name__ == "__main__":
    import torch
    import uvicorn

    torch.set_num_threads(1)
    uvicorn.run(app(Path(sys.argv[1])), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
