"""A recovered photo as `hmralign recover` leaves it, by the shipped weights and given keypoints."""

from pathlib import Path

from PIL import Image

from hmralign.cli.main import main
from support.recover_example import example_photo, write_keypoints


def recovered_photo(folder: Path, people: int = 1) -> tuple[Path, Path, Path]:
    """The photo, the folder that `recover` wrote of it (numbers alone), and the keypoints it was given."""
    rgb, points = example_photo()
    photo = folder / "photo.png"
    Image.fromarray(rgb).save(photo)
    keypoints = write_keypoints(folder / "keypoints.json", {"photo.png": [points] * people})
    out = folder / "recovered"
    arguments = ["--keypoints", str(keypoints), "--out", str(out), "--num-hypotheses", "3"]
    assert main(["recover", str(photo), *arguments, "--no-pictures", "--quiet"]) == 0
    return photo, out / "photo", keypoints
