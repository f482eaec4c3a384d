"""A server's key: read from the environment, checked, and kept out of everything that is shown or stored."""

from __future__ import annotations

import base64
import os
import re

from hmralign.structures.errors import InputError

MASK = "[key]"
SHORTEST_SECRET = 6
"""Characters. A shorter key (servers without keys are given words like `none`) may stand in any text by chance."""
_SHORTEST_WORD = 8
"""The shortest word of another header that may be a secret, characters: `Bearer` is none."""
_IN_A_KEY = re.compile(r"[!#-&(-;=?-\[\]-_a-~]+\Z")
"""Printable ASCII but for blanks, quotes, backslashes, `<` and `>`, which are pasted around keys and are in none."""


_IN_A_HEADER = re.compile(r"[\n -~]*\Z")
_HEADER_VARIABLES = ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS")
"""What the client puts into headers besides; the last has lines `name: value`, and values may be keys."""


class ApiKey:
    """The key in an environment variable. Its text is given out for one header alone."""

    def __init__(self, variable: str) -> None:
        """Raise InputError, which does not show it, for a key with characters that no key has; also for other headers
        that the environment names."""
        self._key = os.environ.get(variable, "").strip()
        if self._key and not _IN_A_KEY.match(self._key):
            raise InputError(
                f"the key in {variable} has characters no key has; expected printable ASCII without quotes and blanks"
            )
        for name in _HEADER_VARIABLES:
            if not _IN_A_HEADER.match(os.environ.get(name, "")):
                raise InputError(f"{name} has characters no header has; expected printable ASCII")
        headers = os.environ.get(_HEADER_VARIABLES[-1], "").split("\n")
        words = [word for line in headers for word in line.partition(":")[2].split() if len(word) >= _SHORTEST_WORD]
        secrets = [secret for secret in (self._key, *words) if len(secret) >= SHORTEST_SECRET]
        patterns = [_spellings(secret) for secret in secrets]
        self._pattern = re.compile("|".join(patterns)) if patterns else None

    def __repr__(self) -> str:
        return MASK

    @property
    def header_value(self) -> str:
        """What goes into the header; `none` for servers without keys."""
        return self._key or "none"

    def masked(self, text: str) -> str:
        """A text without the key, as it is or escaped: in JSON, in addresses, as Python and HTML write it, in base64.

        Servers repeat a wrong key in their messages, and libraries in theirs.
        """
        return text if self._pattern is None else self._pattern.sub(MASK, text)


def _spellings(key: str) -> str:
    """A pattern for all ways to write a key, each character by its own."""
    plain = "".join(_characters(c) for c in key)
    return "|".join([plain, *map(re.escape, _in_base64(key))])


def _characters(c: str) -> str:
    """All ways to write a character; repetitions are bounded, so that no text takes long to be searched."""
    code = "".join(f"[{d}{d.upper()}]" if d.isalpha() else d for d in f"{ord(c):02x}")
    plain = c if c.isalnum() else rf"\\{{0,8}}{re.escape(c)}"
    html = rf"&(?:#0{{0,8}}{ord(c)}|#[xX]0{{0,8}}{code}{'|amp' * (c == '&')});"
    return rf"(?:{plain}|\\{{1,8}}u00{code}|\\{{1,8}}x{code}|%(?:25){{0,4}}{code}|{html})"


def _in_base64(key: str) -> list[str]:
    """What is the same of the key's base64 whatever stands before and behind it, in both alphabets."""
    found = []
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + key.encode("ascii")).decode("ascii").rstrip("=")
        whole = (before + len(key)) * 8 // 6  # digits that no byte behind the key changes
        inner = encoded[-(-before * 8 // 6) : whole]
        found += [inner, inner.replace("+", "-").replace("/", "_")]
    return sorted(set(found), key=len, reverse=True)
