"""Words for the options of published data sets, which several commands have."""

from __future__ import annotations

LABEL_BODY_HELP = (
    "With a published --dataset: SMPL-shaped file of the body that its labels pose, or a folder with one for each "
    "gender; the default is --body. Without either, limbs and places come from the joints that the files keep."
)
GENDER_HELP = "Whether labels pose the body of each person's gender, where there is one, or the neutral one for all."
