import pytest
from PIL import Image

from hmralign.cli.main import main
from support.recover_example import example_photo, tiny_checkpoint, write_keypoints


class Example:
    """A folder with a checkpoint, a photo, its keypoints, and a way to run `hmralign recover` on it."""

    def __init__(self, folder, checkpoint):
        self.folder, self.checkpoint = folder, checkpoint
        self.rgb, self.points = example_photo()
        self.photo = folder / "photo.png"
        Image.fromarray(self.rgb).save(self.photo)
        self.keypoints = self.write_keypoints("photo.png")
        self.out = folder / "out"

    def write_keypoints(self, *names, points=None, file="keypoints.json"):
        return write_keypoints(self.folder / file, {n: [self.points if points is None else points] for n in names})

    def recover(self, *inputs, keypoints=None, **options):
        """Exit code of a run with 2 hypotheses; options as keywords, True for a flag."""
        chosen = {"checkpoint": self.checkpoint, "keypoints": keypoints or self.keypoints, "out": self.out,
                  "num_hypotheses": 2, **options}  # fmt: skip
        arguments = []
        for name, value in chosen.items():
            if value is not None:
                flag = f"--{name.replace('_', '-')}"
                arguments += [flag] if value is True else [flag, str(value)]
        return main(["recover", *(str(i) for i in inputs or [self.photo]), *arguments])


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch):
    """Drawing is most of the time of a run."""
    for name in ("PERSON_SIDE", "TILE_SIDE"):
        monkeypatch.setattr(f"hmralign.systems.recover.pictures.{name}", 40)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    return tiny_checkpoint(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture
def example(tmp_path, checkpoint):
    return Example(tmp_path, checkpoint)
