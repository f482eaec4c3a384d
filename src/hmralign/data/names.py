"""Which data sets there are: a light table, which a command line reads without loading anything heavy.

Adding one takes a file with a function `(folder, split) -> Dataset` and its line here. A data set of the user's own
needs no line: `FILE.py:FUNCTION`, or an entry point in the group `hmralign.datasets`.
"""

from __future__ import annotations

from collections.abc import Mapping

DATASETS: Mapping[str, str] = {
    "synthwild": "hmralign.data.synthwild_folder:open_split",
    "synthwild-images": "hmralign.rendering.scenes.synthwild_images:open_split",
    "3dpw": "hmralign.adapters.threedpw:open_split",
    "3dpw-json": "hmralign.adapters.threedpw_json:open_split",
    "emdb": "hmralign.adapters.emdb:open_split",
    "h36m": "hmralign.adapters.human36m:open_split",
    "bedlam": "hmralign.adapters.bedlam:open_split",
    "human-data": "hmralign.adapters.human_data:open_split",
    "hybrik-json": "hmralign.adapters.hybrik_json:open_split",
    "mpi-inf-3dhp": "hmralign.adapters.mpi_inf_3dhp:open_split",
    "amass": "hmralign.adapters.amass:open_split",
    "scorer-cache": "hmralign.adapters.scorer_cache:open_split",
    "rich": "hmralign.adapters.rich:open_split",
    "ehf": "hmralign.adapters.ehf:open_split",
}
"""Name -> what opens a split of it."""

PUBLISHED = tuple(name for name, opener in DATASETS.items() if opener.startswith("hmralign.adapters."))
"""Those of other people, which each have a card (`adapters.card`)."""


def dataset_exists(name: str) -> bool:
    """Whether a name is one of `DATASETS`, or stands for a data set of the user's own."""
    if name in DATASETS:
        return True
    from hmralign.structures.extensions import is_extension  # loads torch, which a command's `--help` does without

    return is_extension("datasets", name)
