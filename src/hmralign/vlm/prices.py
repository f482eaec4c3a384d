"""What tokens cost, from a file of the user's: prices change too often to be shipped.

```yaml
currency: USD
models:
  qwen3-vl-32b-instruct: {input: 0.30, cached_input: 0.06, output: 2.00}   # per million tokens
```
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hmralign.storage.yaml_file import read_yaml
from hmralign.structures.errors import InputError
from hmralign.vlm.chat import Usage

_FIELDS = {"input", "cached_input", "output"}


@dataclass(frozen=True)
class Price:
    """Prices of one model, per million tokens."""

    input: float
    output: float
    cached_input: float | None = None
    """Price of prompt tokens the server had already; None where they cost as much as others."""

    def cost(self, usage: Usage) -> float:
        """Cost of one call; tokens the server does not report cost nothing, so estimate them first."""
        prompt, cached = usage.prompt_tokens or 0, min(usage.cached_tokens or 0, usage.prompt_tokens or 0)
        cached_price = self.input if self.cached_input is None else self.cached_input
        tokens = (prompt - cached) * self.input + cached * cached_price + (usage.completion_tokens or 0) * self.output
        return tokens / 1e6


@dataclass(frozen=True)
class PriceTable:
    """Prices by the name of the model, in one currency."""

    models: Mapping[str, Price] = field(default_factory=dict)
    currency: str = "USD"

    @classmethod
    def load(cls, path: str | Path) -> PriceTable:
        """Read a YAML file. Raises InputError that names the file and the entry."""
        path = Path(path)
        content = read_yaml(path, "a readable price table")
        models = content.get("models") if isinstance(content, dict) else None
        if not isinstance(content, dict) or set(content) - {"currency", "models"} or not isinstance(models, dict):
            raise InputError(f"the price table {path} has another form; expected `currency:` and `models:`")
        prices = {str(name): _price(entry, f"{path}: {name}") for name, entry in models.items()}
        return cls(prices, str(content.get("currency", "USD")))

    def of(self, model: str) -> Price | None:
        """Price of a model, None where the table does not have it."""
        return self.models.get(model)


def _price(entry: Any, where: str) -> Price:
    if not isinstance(entry, dict) or set(entry) - _FIELDS or not {"input", "output"} <= set(entry):
        raise InputError(f"{where}: expected input, output and perhaps cached_input, per million tokens")
    for name, value in entry.items():
        good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
        if not good:
            raise InputError(f"{where}: {name} is {value!r}; expected a price of 0 or more")
    return Price(**{name: float(value) for name, value in entry.items()})
