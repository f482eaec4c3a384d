import hashlib
import io
import logging
import os
import re
import struct
import zlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, features

from hmralign.data import images, photo_formats
from hmralign.data.images import expand_inputs, load_cutout, load_image
from hmralign.geometry.cameras import intrinsics_from_exif
from hmralign.structures import InputError

ORIENTATION, EXIF_IFD = 0x0112, 0x8769


def picture(width: int = 40, height: int = 24) -> np.ndarray:
    """A smooth colour gradient: every corner has its own colour, and JPEG keeps it."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([x * 255 / (width - 1), y * 255 / (height - 1), np.full_like(x, 60, dtype=float)], axis=-1)
    return rgb.astype(np.uint8)


def save(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


def test_a_png_comes_back_as_written(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(picture()))
    loaded = load_image(str(path))
    np.testing.assert_array_equal(loaded.rgb, picture())
    assert loaded.rgb.flags["C_CONTIGUOUS"] and loaded.rgb.flags["OWNDATA"]
    assert (loaded.width, loaded.height, loaded.original_size, loaded.scale) == (40, 24, (40, 24), (1.0, 1.0))
    assert loaded.name == str(path) and dict(loaded.exif) == {}
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_path_file_object_array_and_pillow_image_agree(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(picture()))
    with path.open("rb") as stream:
        from_stream = load_image(stream)
    from_memory = load_image(io.BytesIO(path.read_bytes()))
    with Image.open(path) as opened:
        from_pillow = load_image(opened)
    assert from_stream.sha256 == from_memory.sha256 == load_image(path).sha256
    assert from_stream.name == str(path)
    for loaded in (from_stream, from_memory, from_pillow, load_image(picture())):
        np.testing.assert_array_equal(loaded.rgb, picture())
    assert from_pillow.sha256 is None


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".bmp", ".tif", ".gif", ".ppm"])
def test_formats(tmp_path, suffix):
    loaded = load_image(save(tmp_path / f"a{suffix}", Image.fromarray(picture())))
    assert np.abs(loaded.rgb.astype(int) - picture()).mean() < 12


def test_arrays_are_copied_and_need_not_be_contiguous():
    array = picture()
    loaded = load_image(array[:, ::-1])
    array[:] = 0
    np.testing.assert_array_equal(loaded.rgb, picture()[:, ::-1])
    grey = picture()[..., 0]
    np.testing.assert_array_equal(load_image(grey).rgb, np.repeat(grey[..., None], 3, axis=-1))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((30, 30, 3), np.float32),
        np.zeros((30, 30, 3), np.uint16),
        np.zeros((3, 30, 30), np.uint8),
        np.zeros((2, 30, 30, 3), np.uint8),
        np.zeros(30, np.uint8),
        np.zeros((0, 30, 3), np.uint8),
        np.zeros((15, 30, 3), np.uint8),
    ],
    ids=["float", "uint16", "channels first", "batch", "one axis", "empty", "small"],
)
def test_arrays_of_another_kind_are_refused(array):
    with pytest.raises(InputError, match="expected"):
        load_image(array)


def test_transparency_is_put_on_white(tmp_path):
    rgba = np.dstack([picture(), np.full((24, 40), 255, np.uint8)])
    rgba[:12, :, 3] = 0
    rgba[12, :, 3] = 128
    expected = picture().copy()
    expected[:12] = 255
    palette = Image.fromarray(picture()).quantize(16)
    transparent = palette.getpixel((0, 0))
    for loaded in (load_image(rgba), load_image(save(tmp_path / "a.png", Image.fromarray(rgba)))):
        np.testing.assert_array_equal(np.delete(loaded.rgb, 12, axis=0), np.delete(expected, 12, axis=0))
        mixed = (picture()[12].astype(float) * 128 + 255 * 127) / 255
        np.testing.assert_allclose(loaded.rgb[12], mixed, atol=1)
    loaded = load_image(save(tmp_path / "p.png", palette, transparency=transparent))
    hidden = np.asarray(palette) == transparent
    assert (loaded.rgb[hidden] == 255).all() and not (loaded.rgb[~hidden] == 255).all()
    la = Image.merge("LA", [Image.new("L", (20, 20), 10), Image.new("L", (20, 20), 0)])
    assert (load_image(save(tmp_path / "la.png", la)).rgb == 255).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr"])
def test_other_colour_modes(tmp_path, mode):
    image = Image.fromarray(picture()).convert(mode)
    path = save(tmp_path / ("a.png" if mode in "1LP" else "a.tif"), image)
    loaded = load_image(path)
    np.testing.assert_allclose(loaded.rgb.astype(int), np.asarray(image.convert("RGB")).astype(int), atol=2)


def test_cmyk_jpeg_is_not_inverted(tmp_path):
    red = Image.new("CMYK", (32, 32), (0, 255, 255, 0))
    loaded = load_image(save(tmp_path / "a.jpg", red))
    assert loaded.rgb[..., 0].min() > 200 and loaded.rgb[..., 1:].max() < 60


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_sixteen_bit_grey_keeps_its_range(tmp_path, suffix):
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (20, 1))
    loaded = load_image(save(tmp_path / f"a{suffix}", Image.fromarray(ramp)))
    np.testing.assert_allclose(loaded.rgb[0, :, 0], ramp[0] / 257, atol=1)


def test_pixels_without_a_range_are_refused(tmp_path):
    path = save(tmp_path / "a.tif", Image.fromarray(np.zeros((20, 20), np.float32)))
    with pytest.raises(InputError, match="unknown range"):
        load_image(path)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(tmp_path, suffix, orientation):
    upright = picture()
    # How a camera that records this orientation stores the upright scene (EXIF 2.3, tag 274).
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = Image.fromarray(np.ascontiguousarray(stored))
    options = {".jpg": {"quality": 98, "subsampling": 0}, ".webp": {"lossless": True}}.get(suffix, {})
    loaded = load_image(save(tmp_path / f"a{suffix}", image, exif=exif, **options))
    assert loaded.original_size == (40, 24)
    np.testing.assert_allclose(loaded.rgb.astype(int), upright.astype(int), atol=8)


def test_exif_gives_the_camera_and_nothing_private(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[ORIENTATION] = 6
    exif.get_ifd(EXIF_IFD).update({0xA405: 26, 0x920A: 4.25, 0xA002: 40, 0xA003: 24, 0x9003: "2020:01:01 00:00:00"})
    exif.get_ifd(0x8825).update({1: "N"})
    loaded = load_image(save(tmp_path / "a.jpg", Image.fromarray(picture()), exif=exif))
    assert dict(loaded.exif) == {
        "FocalLengthIn35mmFilm": 26.0,
        "FocalLength": 4.25,
        "PixelXDimension": 40.0,
        "PixelYDimension": 24.0,
    }
    camera = intrinsics_from_exif(loaded.exif, loaded.width, loaded.height)
    assert camera is not None and (camera.width, camera.height) == (24, 40)


def test_the_first_frame_of_an_animation_is_used(tmp_path):
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    path = save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(load_image(path).rgb[5, 5], [255, 0, 0])


def test_a_jpeg_with_further_pictures_is_a_jpeg(tmp_path):
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    path = save(tmp_path / "a.jpg", frames[0], format="MPO", save_all=True, append_images=frames[1:])
    assert load_image(path).rgb[5, 5, 0] > 240


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_large_photos_are_reduced_and_say_so(tmp_path, monkeypatch, caplog, suffix, orientation):
    monkeypatch.setattr(images, "DOWNSCALE_PIXELS", 500 * 300)
    monkeypatch.setattr(images, "MAX_LONG_SIDE", 100)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = save(tmp_path / f"a{suffix}", Image.fromarray(picture(601, 303)), exif=exif)
    with caplog.at_level("WARNING", logger="hmralign"):
        loaded = load_image(path)
    size, original = ((100, 50), (601, 303)) if orientation == 1 else ((50, 100), (303, 601))
    assert (loaded.width, loaded.height) == size and loaded.original_size == original
    assert loaded.scale == pytest.approx((size[0] / original[0], size[1] / original[1]))
    assert "reduced" in caplog.text and path.name in caplog.text
    expected = picture(100, 50) if orientation == 1 else np.rot90(picture(100, 50), -1)
    assert np.abs(loaded.rgb.astype(int) - expected).mean() < 4


def test_photos_below_the_limit_stay(monkeypatch):
    monkeypatch.setattr(images, "DOWNSCALE_PIXELS", 500 * 300)
    assert load_image(picture(500, 300)).scale == (1.0, 1.0)


def test_a_callers_pillow_image_is_not_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "DOWNSCALE_PIXELS", 500 * 300)
    monkeypatch.setattr(images, "MAX_LONG_SIDE", 100)
    with Image.open(save(tmp_path / "a.jpg", Image.fromarray(picture(600, 400)))) as image:
        assert load_image(image).width == 100
        assert image.size == (600, 400)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and carries a few bytes of pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(60000, 60000), (11000, 9500), (10001, 10000)])
def test_bombs_are_refused_by_their_header(tmp_path, size, monkeypatch):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("the bomb was decoded"))
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(*size))
    with pytest.raises(InputError, match=r"bomb\.png.*megapixels"):
        load_image(path)


def test_a_bomb_in_disguise_of_a_line_is_refused():
    with pytest.raises(InputError, match="at least 16 x 16"):
        load_image(np.zeros((16, 2_000_000), np.uint8))


@pytest.mark.parametrize("size", [(1, 1), (15, 400), (400, 15)])
def test_tiny_images_are_refused(tmp_path, size):
    with pytest.raises(InputError, match=r"a\.png.*at least 16 x 16"):
        load_image(save(tmp_path / "a.png", Image.new("RGB", size)))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tif", ".webp", ".gif", ".ppm"])
@pytest.mark.parametrize("share", [0.9, 0.5])
def test_truncated_files_are_refused(tmp_path, suffix, share):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / f"cut{suffix}", Image.fromarray(noise))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError, match=f"cut{suffix}"):
        load_image(path)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"%PDF-1.4\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\nshowpage\n",
        b"<svg xmlns='http://www.w3.org/2000/svg' width='99' height='99'></svg>",
        b"\xff\xd8\xff\xe0",
        b"\x89PNG\r\n\x1a\n",
    ],
    ids=["empty", "text", "pdf", "eps", "svg", "jpeg start", "png start"],
)
def test_what_is_not_an_image_is_refused(tmp_path, content):
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"photo\.jpg") as caught:
        load_image(path)
    assert "\n" not in str(caught.value)


def test_no_interpreter_runs_through_a_pillow_image():
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\nshowpage\n%%EOF\n"
    with pytest.raises(InputError, match="EPS"):
        load_image(Image.open(io.BytesIO(eps)))


def test_bad_paths_are_named(tmp_path):
    file = save(tmp_path / "a.png", Image.fromarray(picture()))
    with pytest.raises(InputError, match="folder"):
        load_image(tmp_path)
    with pytest.raises(InputError, match=r"missing\.jpg.*does not exist"):
        load_image(tmp_path / "missing.jpg")
    for path in (file / "below", tmp_path / ("x" * 5000), "a\0b"):
        with pytest.raises(InputError):
            load_image(path)
    with pytest.raises(InputError, match="binary"):
        load_image(io.StringIO("text"))  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(InputError, match="pipe"):
        load_image(tmp_path / "pipe.png")


def test_an_unreadable_file_is_named(tmp_path, monkeypatch):
    path = save(tmp_path / "secret.png", Image.fromarray(picture()))
    path.chmod(0)
    if os.access(path, os.R_OK):  # the superuser may read everything
        monkeypatch.setattr(Path, "open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(InputError, match=r"secret\.png.*Permission denied"):
        load_image(path)


def test_files_above_the_byte_limit_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_FILE_BYTES", 1 << 4)
    with pytest.raises(InputError, match="MiB"):
        load_image(save(tmp_path / "a.png", Image.fromarray(picture())))


def png_with(exif: bytes, where: str) -> bytes:
    """A picture with these bytes as its EXIF chunk, before or behind the pixels."""
    stream = io.BytesIO()
    Image.fromarray(picture()).save(stream, "PNG")
    plain = stream.getvalue()
    chunk = struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif))
    at = plain.index(b"IDAT" if where == "before" else b"IEND") - 4
    return plain[:at] + chunk + plain[at:]


@settings(max_examples=80, deadline=None)
@given(
    exif=st.binary(max_size=40) | st.binary(max_size=40).map(lambda b: b"MM\0*" + b),
    where=st.sampled_from(["before", "behind"]),
)
@example(exif=b"\0\x08\0\x02\x01\x12\0\x03", where="before")
def test_bytes_that_are_no_exif_do_not_cost_the_picture(exif, where):
    loaded = load_image(io.BytesIO(png_with(exif, where)))
    assert sorted(loaded.rgb.shape[:2]) == [24, 40] and all(np.isfinite(v) for v in loaded.exif.values())


def test_a_warning_tells_of_broken_exif(caplog):
    with caplog.at_level("WARNING"):
        loaded = load_image(io.BytesIO(png_with(b"no TIFF!", "before")))
    np.testing.assert_array_equal(loaded.rgb, picture())
    assert "EXIF is damaged" in caplog.text and dict(loaded.exif) == {}


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_heic_photos_are_upright_and_know_their_camera(tmp_path, orientation):
    heif = pytest.importorskip("pillow_heif", reason="the extra [heif] is not installed")
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif.get_ifd(EXIF_IFD).update({0xA405: 26})
    path = tmp_path / "IMG_0001.HEIC"
    turned = Image.fromarray(picture(64, 32))
    heif.from_pillow(turned).save(path, exif=exif.tobytes(), quality=95)
    jpeg = save(tmp_path / "a.jpg", turned, exif=exif, quality=95, subsampling=0)
    loaded, wanted = load_image(path), load_image(jpeg)
    assert loaded.rgb.shape == wanted.rgb.shape and loaded.exif == wanted.exif
    assert np.abs(loaded.rgb.astype(int) - wanted.rgb).mean() < 4
    assert expand_inputs([tmp_path]) == [path, jpeg]


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow cannot read AVIF")
def test_avif_photos(tmp_path):
    path = save(tmp_path / "a.avif", Image.fromarray(picture(64, 32)), quality=95)
    assert np.abs(load_image(path).rgb.astype(int) - picture(64, 32)).mean() < 4


@pytest.mark.parametrize(
    ("brand", "said"), [("heic", r"a HEIC photo \(pip install 'hmralign\[heif\]'"), ("avif", "AVIF")]
)
def test_without_a_reader_one_sentence_says_which(tmp_path, monkeypatch, brand, said):
    monkeypatch.setattr(photo_formats, "_reads_heic", lambda: False)
    monkeypatch.setattr(photo_formats, "_reads_avif", lambda: False)
    (tmp_path / "a").write_bytes(b"\0\0\0\x18ftyp" + brand.encode() + b"\0\0\0\0mif1" + brand.encode())
    with pytest.raises(InputError, match=said):
        load_image(tmp_path / "a")


@pytest.fixture
def folder(tmp_path):
    for name in ("b.JPG", "a.png", "notes.txt", ".hidden.jpg", "sub/c.webp", "sub/odd[1].png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "folder.jpg").mkdir()
    return tmp_path


def test_one_warning_counts_what_is_not_used(folder, caplog):
    for name in ("c.mp4", "d.MOV", "e.HEIC", "f", "sub/deep/x.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    with caplog.at_level("WARNING"):
        expand_inputs([folder, folder / "a.png"])
    (said,) = [record.message for record in caplog.records]
    heic = "" if find_spec("pillow_heif") else "1 HEIC photo (pip install 'hmralign[heif]' reads them), "
    assert said.startswith("not used: 2 videos (") and f"), {heic}1 file without a suffix, 1 text file, " in said
    assert "1 subfolder with pictures" in said and "hidden" not in said


def test_what_is_used_by_another_entry_is_not_called_unused(folder, caplog):
    with caplog.at_level("WARNING"):
        expand_inputs([folder, folder / "notes.txt", folder / "sub", folder / "folder.jpg" / "..", folder / "*.png"])
    assert [r.message for r in caplog.records] == [
        "not used: 1 subfolder with pictures (a pattern such as 'photos/**/*.jpg' enters them)"
    ]


def test_a_folder_of_nothing_usable_says_what_is_there(tmp_path):
    (tmp_path / "a.mp4").touch()
    with pytest.raises(InputError, match=r"matches no image.*but there is: 1 video"):
        expand_inputs([tmp_path])


@settings(max_examples=40, deadline=None)
@given(
    names=st.lists(st.from_regex(r"[a-z]{1,6}(\.[a-zA-Z0-9]{1,4})?", fullmatch=True), max_size=8, unique_by=str.lower)
)
def test_every_file_of_a_folder_is_used_or_counted(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("some")
    for name in ["a.png", *names]:
        (folder / name).touch()
    log = logging.getLogger("hmralign.data")
    said: list[str] = []
    log.addFilter(keep := lambda record: said.append(record.getMessage()) or False)
    try:
        used = expand_inputs([folder])
    finally:
        log.removeFilter(keep)
    counts = [int(n) for n in re.findall(r"(?:^not used: |, )([0-9]+) ", said[0])] if said else []
    assert len(used) + sum(counts) == len(list(folder.iterdir()))


def test_folders_give_their_images_sorted(folder):
    assert [p.name for p in expand_inputs([folder])] == ["a.png", "b.JPG"]


def test_patterns_and_files_are_joined_without_repeats(folder):
    inputs = [str(folder / "**" / "*.*"), folder / "a.png", folder / "sub" / ".." / "a.png", folder / "notes.txt"]
    names = [p.name for p in expand_inputs(inputs)]
    assert sorted(names) == sorted(["a.png", "b.JPG", "notes.txt", "c.webp", "odd[1].png"])
    paths = expand_inputs(inputs)
    assert paths == sorted(paths)


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(folder):
    assert expand_inputs([folder / "sub" / "odd[1].png"]) == [folder / "sub" / "odd[1].png"]


@pytest.mark.parametrize("entry", ["*.gif", "missing.jpg", "missing/*.png", "folder.jpg"])
def test_an_entry_that_names_nothing_is_an_error(folder, entry):
    with pytest.raises(InputError, match=entry.replace("*", r"\*")):
        expand_inputs([folder / "a.png", folder / entry])


def test_no_input_at_all_is_an_error():
    with pytest.raises(InputError, match="No input"):
        expand_inputs([])


def test_a_cutout_keeps_its_transparency_and_is_turned_upright(tmp_path):
    alpha = np.zeros((24, 40, 1), np.uint8)
    alpha[3:9, 5:20] = 255
    cut = Image.fromarray(np.concatenate([picture(), alpha], 2))
    assert np.array_equal(np.asarray(load_cutout(save(tmp_path / "a.png", cut))), np.asarray(cut))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    turned = load_cutout(save(tmp_path / "b.png", cut, exif=exif))
    assert turned.size == (24, 40) and np.array_equal(np.asarray(turned), np.rot90(np.asarray(cut), -1))
    whole = (tmp_path / "a.png").read_bytes()
    save(tmp_path / "c.png", Image.fromarray(picture()))
    (tmp_path / "d.png").write_bytes(b"nothing")
    (tmp_path / "e.png").write_bytes(whole[: len(whole) // 2])
    for name, said in (("c", "has no transparency"), ("d", "is not an image"), ("e", "damaged"), ("f", "not exist")):
        with pytest.raises(InputError, match=said):
            load_cutout(tmp_path / f"{name}.png")
