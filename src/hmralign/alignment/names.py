"""Which methods align a model: a light table, which a command line reads without loading anything heavy.

Adding a method takes a file in `methods/` (its settings, what it selects from groups, its terms) and its line here. A
method of the user's own needs no line: `FILE.py:FUNCTION`, or an entry point in the group `hmralign.methods`.
"""

from __future__ import annotations

from collections.abc import Mapping

METHODS: Mapping[str, str] = {
    "sft": "hmralign.alignment.methods.sft:make_sft",
    "best-of-n": "hmralign.alignment.methods.best_of_n:make_best_of_n",
    "dpo": "hmralign.alignment.methods.dpo:make_dpo",
    "kto": "hmralign.alignment.methods.kto:make_kto",
    "group": "hmralign.alignment.methods.group:make_group",
    "direct-reward": "hmralign.alignment.methods.direct_reward:make_direct_reward",
}
"""Name -> what makes it, in the order in which they are told."""
