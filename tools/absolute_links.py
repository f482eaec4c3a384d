"""README with absolute links, for a package index, which has none of the files that relative ones name.

    python tools/absolute_links.py README.md https://HOST/OWNER/NAME/raw/v0.1.0 > build/package/README.md

`make dist RAW_URL=...` does it. Where the repository is published is not known to it, so the address is an argument.
"""

import re
import sys
from pathlib import Path

LINK = re.compile(r"(\]\()(?!https?://|#|mailto:)([^)\s]+)(\))")


def absolute_links(text: str, base: str) -> str:
    """The text with `base` before each relative link. Raises ValueError for a base that is no address."""
    if not base.startswith(("https://", "http://")):
        raise ValueError(f"{base!r} is no address; expected https://...")
    return LINK.sub(lambda link: f"{link[1]}{base.rstrip('/')}/{link[2]}{link[3]}", text)


if __name__ == "__main__":
    sys.stdout.write(absolute_links(Path(sys.argv[1]).read_text(), sys.argv[2]))
