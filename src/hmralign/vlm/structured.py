"""Answers of a known form: schemas that every server takes, and reading what came back.

The subset of JSON schema is what vLLM, SGLang, Ollama, LM Studio, llama-server, OpenAI and llguidance agree on: objects
whose properties are all required, arrays and strings with bounds, integers with bounds, enumerations; no references.
A string has a pattern or a length, never both, because grammars drop one of them silently.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hmralign.structures.counted import counted
from hmralign.structures.errors import InputError
from hmralign.vlm.chat import ChatReply, whole_characters
from hmralign.vlm.errors import AnswerError, AnswerTrouble

Schema = dict[str, Any]

_KEYS: dict[str, tuple[set[str], set[str]]] = {
    # type: keys it must have, keys it may have
    "object": ({"properties", "required", "additionalProperties"}, set()),
    "array": ({"items", "minItems", "maxItems"}, set()),
    "string": (set(), {"enum", "pattern", "maxLength"}),
    "integer": ({"minimum", "maximum"}, set()),
    "boolean": (set(), set()),
}
_IGNORED = {"title", "default", "description", "examples"}


def printable(max_length: int) -> Schema:
    """A text of at most so many printable ASCII characters: no line break, no quote, no backslash.

    Free strings come with raw control characters, and a grammar lets a model fill a string with them up to its limit.
    """
    if not 1 <= max_length <= 4000:
        raise InputError(f"a text of at most {counted(max_length, 'character')}; expected 1 to 4000")
    return {"type": "string", "pattern": rf"^[ !#-\[\]-~]{{0,{max_length}}}$"}


def integer(minimum: int, maximum: int) -> Schema:
    """A whole number with both ends."""
    return {"type": "integer", "minimum": minimum, "maximum": maximum}


def choice(options: Sequence[str]) -> Schema:
    """One of some words."""
    return {"type": "string", "enum": list(options)}


def array(items: Schema, least: int, most: int) -> Schema:
    """A list with a bounded number of items."""
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}


def record(properties: Mapping[str, Schema]) -> Schema:
    """An object with exactly these properties, in this order."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def portable_schema(model: Any) -> Schema:
    """Schema of a pydantic model within the subset: references inlined, titles dropped, everything required.

    Raises InputError that names the field where the model needs more than the subset has.
    """
    schema = model.model_json_schema()
    plain = _plain(schema, schema.get("$defs", {}), ())
    check_portable(plain)
    return plain


def _plain(node: Schema, definitions: Mapping[str, Schema], seen: tuple[str, ...]) -> Schema:
    if "$ref" in node:
        name = str(node["$ref"]).rsplit("/", 1)[-1]
        if name in seen:
            raise InputError(f"the schema refers to itself in {name}; expected a finite form")
        return _plain(definitions[name], definitions, (*seen, name))
    plain = {k: v for k, v in node.items() if k not in _IGNORED and k != "$defs"}
    if "const" in plain:
        plain["enum"] = [plain.pop("const")]
    if "items" in plain:
        plain["items"] = _plain(plain["items"], definitions, seen)
    if plain.get("type") == "object" and plain.get("additionalProperties", False) is False:
        properties = {name: _plain(child, definitions, seen) for name, child in plain.get("properties", {}).items()}
        plain |= record(properties)
    return plain


def check_portable(schema: Schema, path: str = "answer") -> None:
    """Raise InputError that names the place where a schema leaves the subset."""
    kind = schema.get("type")
    if not isinstance(kind, str) or kind not in _KEYS:
        raise InputError(f"{path} has the type {kind!r}; expected one of {', '.join(_KEYS)}")
    must, may = _KEYS[kind]
    missing, foreign = must - set(schema), set(schema) - must - may - {"type"}
    if missing or foreign:
        raise InputError(f"{path} ({kind}) lacks {sorted(missing)} and has {sorted(foreign)}; the subset has neither")
    if kind == "string" and len({"enum", "pattern", "maxLength"} & set(schema)) != 1:
        raise InputError(f"{path} is a string; expected exactly one of enum, pattern, maxLength to bound it")
    if kind == "object":
        if sorted(schema["required"]) != sorted(schema["properties"]) or schema["additionalProperties"] is not False:
            raise InputError(f"{path} is an object; expected every property required and no others allowed")
        for name, child in schema["properties"].items():
            check_portable(child, f"{path}.{name}")
    if kind == "array":
        check_portable(schema["items"], f"{path}[]")


def breaches(value: Any, schema: Schema, path: str = "answer", *, wording: bool = False) -> list[str]:
    """What of a value does not follow a schema of the subset; empty where all of it does.

    Patterns and lengths of free texts steer a grammar, and are judged only with `wording`: many servers drop them, and
    an answer that was paid for is not refused because a comment has a dash or is long.
    """
    kind = schema["type"]
    if kind == "object":
        return _object_breaches(value, schema, path, wording)
    if kind == "array":
        return _array_breaches(value, schema, path, wording)
    if kind == "string":
        return _string_breaches(value, schema, path, wording)
    if kind == "integer":
        return _integer_breaches(value, schema, path)
    return [] if isinstance(value, bool) else [f"{path} is not true or false"]


def _object_breaches(value: Any, schema: Schema, path: str, wording: bool) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path} is not an object"]
    properties = schema["properties"]
    found = [f"{path}.{name} is missing" for name in properties if name not in value]
    if foreign := set(value) - set(properties):
        found.append(f"{path} has {counted(len(foreign), 'key')} that were not asked for")
    for name, child in properties.items():
        if name in value:
            found += breaches(value[name], child, f"{path}.{name}", wording=wording)
    return found


def _array_breaches(value: Any, schema: Schema, path: str, wording: bool) -> list[str]:
    if not isinstance(value, list):
        return [f"{path} is not a list"]
    least, most = schema["minItems"], schema["maxItems"]
    found = (
        [] if least <= len(value) <= most else [f"{path} has {counted(len(value), 'item')}, expected {least} to {most}"]
    )
    items = enumerate(value[:most])
    return found + [b for i, item in items for b in breaches(item, schema["items"], f"{path}[{i}]", wording=wording)]


def _string_breaches(value: Any, schema: Schema, path: str, wording: bool) -> list[str]:
    if not isinstance(value, str):
        return [f"{path} is not a text"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{path} is none of {', '.join(schema['enum'])}"]
    if wording and "maxLength" in schema and len(value) > schema["maxLength"]:
        return [f"{path} has {counted(len(value), 'character')}, expected at most {schema['maxLength']}"]
    if wording and "pattern" in schema and not re.search(schema["pattern"], value):
        return [f"{path} does not follow {schema['pattern']}"]
    return []


def _integer_breaches(value: Any, schema: Schema, path: str) -> list[str]:
    if isinstance(value, bool) or not isinstance(value, int):
        return [f"{path} is not a whole number"]
    low, high = schema["minimum"], schema["maximum"]
    return [] if low <= value <= high else [f"{path} is outside {low} to {high}"]


def usable_text(reply: ChatReply) -> str:
    """Text of a complete answer.

    Raises `AnswerError` for an answer that was cut (never read in part: a grammar may have filled it with blanks up to
    its limit), refused, stopped for an unknown reason, or empty. Where the server does not say why the answer ended,
    it is complete if it is a JSON object to its last brace; words alone may have been cut.
    """
    troubles: dict[str, tuple[str, AnswerTrouble]] = {
        "length": ("the answer was cut at its limit of tokens", "length"),
        "refusal": ("the model refused to answer", "refusal"),
        "other": ("the server stopped the answer for a reason of its own", "length"),
    }
    if reply.finish_reason in troubles:
        reason, trouble = troubles[reply.finish_reason]
        raise AnswerError(reason, trouble=trouble, text=reply.text.strip())
    if not reply.text.strip():
        raise AnswerError("the answer is empty", trouble="empty")
    if reply.finish_reason == "unsaid" and not _is_whole_object(reply.text):
        reason = "the server does not say why the answer ended, and it is no complete JSON"
        raise AnswerError(reason, trouble="length", text=reply.text.strip())
    return reply.text


def _is_whole_object(text: str) -> bool:
    bare = _without_fence(_without_thoughts(text))
    try:
        return isinstance(json.loads(bare, strict=False), dict)
    except (ValueError, RecursionError):
        return False


def structured_answer(reply: ChatReply, schema: Schema) -> Any:
    """Value of an answer that follows `schema`, complete and as it was given.

    Raises `AnswerError` otherwise; nothing that is missing is filled in.
    """
    text = usable_text(reply)
    value = read_json(text)
    if found := breaches(value, schema):
        raise AnswerError("; ".join(found[:4]), trouble="schema", text=text)
    return value


def read_json(text: str) -> Any:
    """JSON of an answer, through a ladder of repairs that change no value.

    1. as it is; 2. without thoughts and fences; 3. with raw control characters inside strings; 4. the one balanced
    object inside other words. A key that comes twice, NaN, and two different objects are refused at every step.
    """
    bare = _without_fence(_without_thoughts(text))
    for attempt in (text, bare):
        value = _loads(attempt, text, strict=True)
        if value is not _NOTHING:
            return value
    value = _loads(bare, text, strict=False)
    if value is not _NOTHING:
        return value
    found = [v for part in _balanced_objects(bare) if (v := _loads(part, text, strict=False)) is not _NOTHING]
    if not found:
        raise AnswerError("the answer is not JSON", trouble="json", text=text)
    if any(other != found[0] for other in found[1:]):
        raise AnswerError("the answer holds different objects", trouble="json", text=text)
    return found[0]


_NOTHING = object()


def _loads(part: str, text: str, *, strict: bool) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            raise AnswerError("the answer gives a key twice", trouble="labels", text=text)
        return value

    def no_number(name: str) -> Any:
        raise AnswerError(f"the answer has {name} for a number", trouble="json", text=text)

    try:
        value = json.loads(part, strict=strict, object_pairs_hook=once, parse_constant=no_number)
        return _with_whole_characters(value) if "\\u" in part else value
    except (ValueError, RecursionError):
        return _NOTHING


def _with_whole_characters(value: Any) -> Any:
    if isinstance(value, str):
        return whole_characters(value)
    if isinstance(value, list):
        return [_with_whole_characters(item) for item in value]
    if isinstance(value, dict):
        return {whole_characters(name): _with_whole_characters(item) for name, item in value.items()}
    return value


def _without_thoughts(text: str) -> str:
    """Templates of thinking models open the thought themselves, so the closing mark may stand alone."""
    kept, started = [], 0
    while (opened := text.find("<think>", started)) >= 0 and (closed := text.find("</think>", opened)) >= 0:
        kept.append(text[started:opened])
        started = closed + len("</think>")
    return "".join([*kept, text[started:]]).rsplit("</think>", 1)[-1].strip()


def _without_fence(text: str) -> str:
    fences = re.findall(r"```[a-zA-Z]*\s*\n(.*?)```", text, flags=re.DOTALL)
    return fences[0].strip() if len(fences) == 1 else text


def _balanced_objects(text: str) -> Iterator[str]:
    """Outermost `{...}` of a text, braces inside strings not counted."""
    depth, start, in_string, escaped = 0, 0, False, False
    for i, character in enumerate(text):
        if in_string:
            in_string = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"' and depth:
            in_string = True
        elif character == "{":
            start = i if depth == 0 else start
            depth += 1
        elif character == "}" and depth:
            depth -= 1
            if depth == 0:
                yield text[start : i + 1]
