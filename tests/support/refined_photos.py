"""A recovered photo as `hmralign recover` leaves it, without a detector or trained weights; drawing is small."""

from pathlib import Path

from PIL import Image

from hmralign.cli.main import main
from support.recover_example import example_photo, tiny_checkpoint, write_keypoints


def recovered_photo(folder: Path, people: int = 1) -> tuple[Path, Path, Path]:
    """The photo, the folder that `recover` wrote of it (numbers alone), and the keypoints it was given."""
    rgb, points = example_photo()
    photo = folder / "photo.png"
    Image.fromarray(rgb).save(photo)
    keypoints = write_keypoints(folder / "keypoints.json", {"photo.png": [points] * people})
    weights = tiny_checkpoint(folder / "tiny.safetensors")
    out = folder / "recovered"
    arguments = [
        "--checkpoint",
        str(weights),
        "--keypoints",
        str(keypoints),
        "--out",
        str(out),
        "--num-hypotheses",
        "3",
    ]
    assert main(["recover", str(photo), *arguments, "--no-pictures", "--quiet"]) == 0
    return photo, out / "photo", keypoints
