"""A Qwen3-VL model in this process, through transformers, with answers held to a schema by llguidance.

The prompt is put together here from the image processor, the tokenizer and its chat template: `AutoProcessor` wants the
processor for videos as well, which needs torchvision (transformers issue 48558). A test holds the result to what
transformers' own processor makes.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from hmralign.storage.json_file import read_json
from hmralign.structures.counted import counted
from hmralign.structures.errors import InputError
from hmralign.vlm.chat import ChatReply, ChatRequest, ImagePart, TextPart, Usage
from hmralign.vlm.completion import write_completion

IMAGE_MARK = "<|image_pad|>"
_END_BYTES = 1 << 16


@dataclass(frozen=True)
class LocalModel:
    """Which model, and where it runs."""

    folder: str
    """With config, safetensors, tokenizer and preprocessor files; a name of the hub only with `allow_download`."""
    device: str = "cpu"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto` takes what the weights have."""
    allow_download: bool = False
    """Whether a name that is no folder may be fetched from the hub."""


class LocalTransformers:
    """A `ChatBackend`. One answer at a time, in a thread of its own; equal seeds give equal answers."""

    def __init__(self, config: LocalModel) -> None:
        """Load the model. Raises InputError that names the folder, or the extra that is not installed."""
        try:
            import llguidance.hf
            import transformers
        except ImportError as error:
            raise InputError(f"the package {error.name} is missing; install hmralign[vlm]") from error
        folder = _folder(config)
        self._name = f"{folder.name}-{weights_hash(folder)[:12]}"
        where: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._images: Any = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil", **where)
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, **where)
            model: Any = transformers.AutoModelForImageTextToText.from_pretrained(
                folder, dtype=config.dtype, use_safetensors=True, **where
            )
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise InputError(f"{folder} holds no model that can be loaded: {error}") from error
        if not str(model.config.model_type).startswith("qwen3_vl"):
            raise InputError(f"{folder} holds a {model.config.model_type} model; expected qwen3_vl or qwen3_vl_moe")
        self._template = _chat_template(folder, self._tokenizer)
        self._model: Any = model.to(config.device).eval()
        vocabulary = int(model.config.text_config.vocab_size)
        self._grammar_tokens = llguidance.hf.from_tokenizer(self._tokenizer, n_vocab=vocabulary)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hmralign-vlm")

    @property
    def model(self) -> str:
        """Name of the folder and the beginning of the hash of its weights."""
        return self._name

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer once. Raises InputError for a request the model cannot be given."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, request)

    def prompt(self, request: ChatRequest) -> dict[str, Tensor]:
        """Inputs of the model for a request, on its device; the batch has one row."""
        pictures = [_decoded(part.data) for part in request.parts if isinstance(part, ImagePart)]
        shown: dict[str, Tensor] = {}
        if pictures:
            shown = dict(self._images(images=pictures, return_tensors="pt"))
        text = self._tokenizer.apply_chat_template(
            self._messages(request), chat_template=self._template, tokenize=False, add_generation_prompt=True
        )
        counts = shown["image_grid_thw"].prod(-1) // self._images.merge_size**2 if pictures else []
        before, *after = text.split(IMAGE_MARK)
        if len(after) != len(pictures):
            raise InputError(
                f"the chat template shows {len(after)} of {counted(len(pictures), 'picture')}; expected all"
            )
        text = before + "".join(IMAGE_MARK * int(n) + rest for n, rest in zip(counts, after, strict=True))
        tokens = self._tokenizer(text, return_tensors="pt", add_special_tokens=False)
        ids = tokens["input_ids"]
        kinds = (ids == self._model.config.image_token_id).int()
        inputs = {"input_ids": ids, "attention_mask": tokens["attention_mask"], "mm_token_type_ids": kinds, **shown}
        return {name: value.to(self._model.device) for name, value in inputs.items()}

    def _messages(self, request: ChatRequest) -> list[dict[str, Any]]:
        for text in [request.system, *(part.text for part in request.parts if isinstance(part, TextPart))]:
            if marks := [mark for mark in self._tokenizer.all_special_tokens if mark in text]:
                raise InputError(f"a text holds {marks[0]}, which the model would take for a mark of the conversation")
        content = [
            {"type": "text", "text": part.text} if isinstance(part, TextPart) else {"type": "image"}
            for part in request.parts
        ]
        system = [{"role": "system", "content": request.system}] if request.system else []
        return [*system, {"role": "user", "content": content}]

    def _answer(self, request: ChatRequest) -> ChatReply:
        inputs = self.prompt(request)
        sampling = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        if request.temperature > 0:
            sampling = {"do_sample": True, "temperature": request.temperature, "top_p": request.top_p, "top_k": 0}
        masks = [] if request.schema is None else [GrammarMask(self._grammar_tokens, request.schema)]
        device = self._model.device
        with torch.inference_mode(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            if request.seed is not None:
                torch.manual_seed(request.seed)
            out = self._model.generate(
                **inputs, **sampling, max_new_tokens=request.max_tokens, logits_processor=masks, use_cache=True
            )
        return self._reply(out[0, inputs["input_ids"].shape[1] :].tolist(), inputs["input_ids"].shape[1])

    def _reply(self, tokens: list[int], prompt_tokens: int) -> ChatReply:
        ends = self._model.generation_config.eos_token_id
        ended = bool(tokens) and tokens[-1] in (ends if isinstance(ends, list) else [ends])
        reply = ChatReply(
            text=self._tokenizer.decode(tokens, skip_special_tokens=True),
            finish_reason="stop" if ended else "length",
            usage=Usage(prompt_tokens, len(tokens), 0),
            model=self._name,
        )
        return replace(reply, raw=write_completion(reply))


class GrammarMask:
    """A logits processor that lets through only what goes on towards JSON of a schema, written without blanks.

    For one answer: it remembers how far the answer has come.
    """

    def __init__(self, tokens: Any, schema: dict[str, Any]) -> None:
        """`tokens` is the `LLTokenizer`. Raises InputError for a schema that makes no grammar."""
        from llguidance import LLMatcher

        grammar = LLMatcher.grammar_from_json_schema(schema, overrides={"whitespace_flexible": False})
        self._matcher = LLMatcher(tokens, grammar, log_level=0)
        if error := self._matcher.get_error():
            raise InputError(f"the schema of the answer makes no grammar: {error}")
        self._read: int | None = None

    def __call__(
        self, input_ids: Int[Tensor, "1 length"], scores: Float[Tensor, "1 vocab"]
    ) -> Float[Tensor, "1 vocab"]:
        """Scores with minus infinity where the grammar does not go on."""
        length = input_ids.shape[1]
        if self._read is not None:
            self._matcher.consume_tokens(input_ids[0, self._read : length].tolist())
        self._read = length
        if error := self._matcher.get_error():
            raise RuntimeError(f"the grammar of the answer failed: {error}")
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        allowed = torch.from_numpy(np.unpackbits(bits, bitorder="little").astype(bool)).to(scores.device)
        vocabulary = scores.shape[1]
        if len(allowed) < vocabulary:
            allowed = torch.nn.functional.pad(allowed, (0, vocabulary - len(allowed)))
        return scores.masked_fill(~allowed[:vocabulary], float("-inf"))


def weights_hash(folder: Path) -> str:
    """SHA-256 of the config, and of name, size, beginning and end of each weight file: whole files are too large."""
    digest = hashlib.sha256()
    files = sorted([*folder.glob("config.json"), *folder.glob("*.safetensors")])
    for path in files:
        size = path.stat().st_size
        with path.open("rb") as file:
            ends = file.read(_END_BYTES)
            file.seek(max(0, size - _END_BYTES))
            ends += file.read(_END_BYTES)
        digest.update(json.dumps([path.name, size]).encode() + ends)
    return digest.hexdigest()


def _folder(config: LocalModel) -> Path:
    folder = Path(config.folder)
    if not folder.is_dir():
        if not config.allow_download:
            raise InputError(f"{config.folder} is no folder; expected one with the files of a Qwen3-VL model")
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(config.folder, allow_patterns=["*.json", "*.safetensors", "*.jinja", "*.txt"]))
    for pattern in ("config.json", "*.safetensors"):
        if not any(folder.glob(pattern)):
            raise InputError(f"{folder} has no {pattern}; expected the files of a Qwen3-VL model")
    return folder


def _chat_template(folder: Path, tokenizer: Any) -> str:
    """From the tokenizer, else from the file older processors keep theirs in."""
    if tokenizer.chat_template:
        return tokenizer.chat_template
    path = folder / "chat_template.json"
    if not path.is_file():
        raise InputError(f"{folder} has no chat template; expected one with its tokenizer or in chat_template.json")
    return read_json(path, "a chat template")["chat_template"]


def _decoded(data: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as image:
            return image.convert("RGB")
    except (OSError, Image.DecompressionBombError) as error:
        raise InputError(f"a picture of {counted(len(data), 'byte')} is no JPEG, PNG or WebP file") from error
