"""Names of files as people can read them, whatever bytes they are made of."""

from __future__ import annotations

import re


def shown_name(name: str) -> str:
    """A file's name for a page, a log or a picture: bytes that are no UTF-8 become the substitute sign.

    Python keeps such bytes as lone surrogates, which no text file can hold.

    >>> shown_name("caf\\udce9.png")
    'caf\ufffd.png'
    """
    return re.sub("[\ud800-\udfff]", "\ufffd", name)
