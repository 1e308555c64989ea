"""Decoding pictures: every mode and orientation by its pixels, and hostile files."""

import hashlib
import io
import os
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import ExifTags, Image, PngImagePlugin

from mmsearch.config import DecodeLimits, InputLimits
from mmsearch.decode import content_hash, decode_part, quiet_native_libraries, quiet_pillow
from mmsearch.decode.image import decode_image
from mmsearch.errors import DecodeError
from mmsearch.records import Chunk, Modality, Part
from mmsearch.sources import IMAGE_SUFFIXES

GUARD: Final = DecodeLimits()
Pixels = NDArray[np.uint8]


def decode(path: Path, guard: DecodeLimits = GUARD, min_side: int | None = None) -> Pixels:
    image = decode_image(str(path), guard, min_side)
    assert image.mode == "RGB"
    return np.asarray(image)


def reason(path: Path, guard: DecodeLimits = GUARD) -> str:
    with pytest.raises(DecodeError) as caught:
        decode_image(str(path), guard)
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def save(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def colours(height: int = 4, width: int = 6) -> Pixels:
    """(height, width, 3) pixels that all differ."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def photo() -> Image.Image:
    """64 x 48 smooth pixels, which lossy formats keep nearly as they are."""
    y, x = np.mgrid[0:48, 0:64]
    return Image.fromarray(np.stack([x * 4, y * 5, 255 - x * 4], axis=2).astype(np.uint8))


class TestModes:
    @pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".webp", ".tga", ".ppm", ".qoi"])
    def test_rgb_comes_as_it_is(self, tmp_path: Path, suffix: str) -> None:
        options = {"lossless": True} if suffix == ".webp" else {}
        path = save(tmp_path / f"a{suffix}", Image.fromarray(colours()), **options)
        assert np.array_equal(decode(path), colours())

    @pytest.mark.parametrize("suffix", [".jpg", ".avif", ".jp2", ".webp", ".mpo"])
    def test_lossy_formats(self, tmp_path: Path, photo: Image.Image, suffix: str) -> None:
        pixels = decode(save(tmp_path / f"a{suffix}", photo, quality=95))
        assert np.abs(pixels.astype(int) - np.asarray(photo)).mean() < 4

    def test_one_bit_and_grey(self, tmp_path: Path) -> None:
        grey = colours()[..., 0]
        assert np.array_equal(
            decode(save(tmp_path / "l.png", Image.fromarray(grey))), np.stack([grey] * 3, axis=2)
        )
        bits = Image.fromarray(grey > 127)
        assert np.array_equal(
            decode(save(tmp_path / "1.png", bits))[..., 1], (grey > 127) * np.uint8(255)
        )

    def test_transparent_is_white_and_half_transparent_is_between(self, tmp_path: Path) -> None:
        rgba = np.zeros((1, 3, 4), np.uint8)
        rgba[0, :, 0] = 200
        rgba[0, :, 3] = [0, 128, 255]
        expected = [[255, 255, 255], [227, 127, 127], [200, 0, 0]]
        assert decode(save(tmp_path / "a.png", Image.fromarray(rgba)))[0].tolist() == expected
        grey = Image.fromarray(rgba[..., [0, 3]])
        assert grey.mode == "LA"
        levels = decode(save(tmp_path / "la.png", grey))[0, :, 2].tolist()
        assert levels == [255, 227, 200]

    @pytest.mark.parametrize("suffix", [".png", ".gif", ".bmp", ".tiff"])
    def test_palette(self, tmp_path: Path, suffix: str) -> None:
        image = Image.fromarray(colours()).quantize(64)
        path = save(tmp_path / f"p{suffix}", image)
        assert np.array_equal(decode(path), colours())

    @pytest.mark.parametrize("suffix", [".png", ".gif"])
    def test_a_transparent_palette_colour_is_white(self, tmp_path: Path, suffix: str) -> None:
        image = Image.new("P", (2, 1), 0)
        image.putpalette([10, 20, 30, 40, 50, 60])
        image.putpixel((1, 0), 1)
        path = save(tmp_path / f"p{suffix}", image, transparency=0)
        assert decode(path)[0].tolist() == [[255, 255, 255], [40, 50, 60]]

    def test_a_palette_of_half_transparent_colours(self, tmp_path: Path) -> None:
        image = Image.new("P", (2, 1), 1)
        image.putpalette([10, 20, 30, 200, 0, 0])
        path = save(tmp_path / "p.png", image, transparency=bytes([0, 128]))
        assert decode(path)[0, 0].tolist() == [227, 127, 127]

    @pytest.mark.parametrize(
        ("mode", "colour", "transparency"),
        [("RGB", (1, 2, 3), (1, 2, 3)), ("L", 7, 7), ("1", 0, 0)],
    )
    def test_a_transparent_colour_is_white(
        self, tmp_path: Path, mode: str, colour: Any, transparency: Any
    ) -> None:
        image = Image.new(mode, (2, 2), colour)
        path = save(tmp_path / "t.png", image, transparency=transparency)
        assert (decode(path) == 255).all()

    @pytest.mark.parametrize("suffix", [".jpg", ".tiff"])
    def test_cmyk(self, tmp_path: Path, suffix: str) -> None:
        image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
        pixels = decode(save(tmp_path / f"c{suffix}", image))
        assert np.abs(pixels.astype(int) - (255, 0, 0)).max() <= 2

    def test_ycbcr(self, tmp_path: Path, photo: Image.Image) -> None:
        pixels = decode(save(tmp_path / "y.tiff", photo.convert("YCbCr")))
        assert np.abs(pixels.astype(int) - np.asarray(photo)).max() <= 3

    @pytest.mark.parametrize(
        ("suffix", "dtype"), [(".png", "<u2"), (".tiff", "<u2"), (".tiff", ">u2")]
    )
    def test_16_bits_are_scaled_not_clipped(self, tmp_path: Path, suffix: str, dtype: str) -> None:
        pixels = np.array([[0, 257, 32896, 65535]], dtype)
        path = save(tmp_path / f"i{suffix}", Image.fromarray(pixels))
        assert decode(path)[0, :, 0].tolist() == [0, 1, 128, 255]

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([0, 100, 255], [0, 100, 255]),  # 8 bits in a larger type
            ([0, 257, 65535], [0, 1, 255]),  # 16 bits
            ([0, 100_000, 200_000], [0, 128, 255]),  # neither: from its darkest to its brightest
            ([-100, 0, 100], [0, 128, 255]),
            ([-7, -7, -7], [0, 0, 0]),
        ],
    )
    def test_32_bits(self, tmp_path: Path, values: list[int], expected: list[int]) -> None:
        path = save(tmp_path / "i.tiff", Image.fromarray(np.array([values], np.int32)))
        assert decode(path)[0, :, 1].tolist() == expected

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([0.0, 0.5, 1.0], [0, 128, 255]),
            ([0.0, 100.0, 200.0], [0, 100, 200]),
            ([-1.0, 0.0, 1.0], [0, 128, 255]),
            ([0.0, np.nan, 1.0], [0, 0, 255]),
        ],
    )
    def test_floats(self, tmp_path: Path, values: list[float], expected: list[int]) -> None:
        path = save(tmp_path / "f.tiff", Image.fromarray(np.array([values], np.float32)))
        assert decode(path)[0, :, 2].tolist() == expected

    def test_what_has_no_grey_or_colour_is_refused(self, tmp_path: Path) -> None:
        nan = Image.fromarray(np.full((2, 2), np.nan, np.float32))
        assert reason(save(tmp_path / "f.tiff", nan)) == "none of its pixels is a number"
        lab = Image.new("LAB", (2, 2))
        assert reason(save(tmp_path / "l.tiff", lab)).startswith("CIELAB colours")

    @pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tiff", ".avif"])
    def test_the_first_frame_of_many(self, tmp_path: Path, suffix: str) -> None:
        frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
        path = save(tmp_path / f"a{suffix}", frames[0], save_all=True, append_images=frames[1:])
        assert np.abs(decode(path).astype(int) - (255, 0, 0)).max() <= 3

    def test_every_suffix_that_pillow_writes_is_read_back(
        self, tmp_path: Path, photo: Image.Image
    ) -> None:
        read = set()
        for suffix in IMAGE_SUFFIXES:
            path = tmp_path / f"a{suffix}"
            try:
                save(path, photo.convert("1") if suffix in (".msp", ".xbm") else photo)
            except (KeyError, OSError, ValueError):
                continue  # Pillow only reads it, or writes other modes
            assert decode(path).shape[2] == 3
            read.add(suffix)
        assert read >= {".jpg", ".png", ".gif", ".webp", ".tif", ".bmp", ".ico", ".avif", ".jp2"}


class TestOrientation:
    # EXIF 2.32, tag 274, says where the first row and the first column of the stored pixels are.
    SEEN: Final = {
        1: np.s_[:, :],
        2: np.s_[:, ::-1],
        3: np.s_[::-1, ::-1],
        4: np.s_[::-1, :],
        5: np.s_[:, :],  # from here on rows and columns change places first
        6: np.s_[:, ::-1],
        7: np.s_[::-1, ::-1],
        8: np.s_[::-1, :],
    }

    @pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff"])
    @pytest.mark.parametrize("orientation", SEEN)
    def test_pixels_are_turned_upright(self, tmp_path: Path, suffix: str, orientation: int) -> None:
        stored = colours()
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        options = {"lossless": True} if suffix == ".webp" else {}
        path = save(tmp_path / f"a{suffix}", Image.fromarray(stored), exif=exif, **options)
        turned = stored.transpose(1, 0, 2) if orientation > 4 else stored
        assert np.array_equal(decode(path), turned[self.SEEN[orientation]])

    def test_of_a_jpeg_that_is_shrunk(self, tmp_path: Path, photo: Image.Image) -> None:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        path = save(tmp_path / "a.jpg", photo.resize((640, 480)), exif=exif)
        assert decode(path, min_side=100).shape == (160, 120, 3)

    @pytest.mark.parametrize("value", [0, 9, 65535])
    def test_an_unknown_one_changes_nothing(self, tmp_path: Path, value: int) -> None:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = value
        path = save(tmp_path / "a.png", Image.fromarray(colours()), exif=exif)
        assert np.array_equal(decode(path), colours())

    @pytest.mark.parametrize("exif", [b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff", b"x"])
    def test_broken_metadata_loses_no_picture(
        self, tmp_path: Path, photo: Image.Image, exif: bytes
    ) -> None:
        path = save(tmp_path / "a.jpg", photo, exif=exif)
        with quiet_pillow():
            assert decode(path).shape == (48, 64, 3)


class TestShrinking:
    def test_a_jpeg_is_shrunk_as_far_as_its_shorter_side_allows(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.jpg", Image.new("RGB", (1600, 800)))
        for min_side, height in ((801, 800), (401, 800), (400, 400), (150, 200), (1, 100)):
            assert decode(path, min_side=min_side).shape == (height, 2 * height, 3)

    def test_other_formats_are_not(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.png", Image.new("RGB", (160, 80)))
        assert decode(path, min_side=10).shape == (80, 160, 3)

    def test_an_encoder_sees_nearly_the_same(self, tmp_path: Path, photo: Image.Image) -> None:
        noise = np.random.default_rng(0).normal(0, 8, (960, 1280, 3))
        pixels = np.asarray(photo.resize((1280, 960), Image.Resampling.BICUBIC)) + noise
        path = tmp_path / "a.jpg"
        save(path, Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), quality=90)
        whole, shrunk = (
            np.asarray(
                decode_image(str(path), GUARD, side).resize((112, 112), Image.Resampling.BICUBIC),
                np.float64,
            )
            for side in (None, 2 * 112)
        )
        assert np.abs(whole - shrunk).max() <= 4
        assert np.abs(whole - shrunk).mean() < 0.5


def png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is, and holds no pixel."""
    body = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    check = zlib.crc32(body).to_bytes(4, "big")
    return PngImagePlugin._MAGIC + b"\0\0\0\x0d" + body + check + b"\0\0\0\0IDAT"


class TestHostileFiles:
    def test_a_bomb_is_refused_by_its_header(self, tmp_path: Path) -> None:
        (tmp_path / "bomb.png").write_bytes(png_header(60_000, 50_000))
        assert reason(tmp_path / "bomb.png") == (
            "60,000 x 50,000 pixels are more than the limit of 200,000,000"
        )

    def test_a_small_file_of_many_pixels(self, tmp_path: Path) -> None:
        path = save(tmp_path / "b.png", Image.new("1", (4000, 3000)))
        assert path.stat().st_size < 5000
        guard = DecodeLimits(image_pixels=11_999_999)
        assert reason(path, guard).startswith("4,000 x 3,000 pixels")

    def test_the_limit_is_ours_and_not_pillows(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = save(tmp_path / "a.png", Image.fromarray(colours(10, 10)))
        assert reason(path, DecodeLimits(image_pixels=99)).startswith("10 x 10 pixels")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
        assert decode(path, DecodeLimits(image_pixels=100)).shape == (10, 10, 3)

    @pytest.mark.parametrize("suffix", [".jpg", ".png", ".gif", ".webp", ".tiff", ".bmp", ".avif"])
    def test_truncated(self, tmp_path: Path, photo: Image.Image, suffix: str) -> None:
        data = save(tmp_path / f"whole{suffix}", photo).read_bytes()
        path = tmp_path / f"half{suffix}"
        path.write_bytes(data[: len(data) // 2])
        with quiet_pillow():
            assert reason(path).startswith("damaged")

    def test_empty_missing_and_not_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").touch()
        assert reason(tmp_path / "a.png") == "the file is empty"
        assert reason(tmp_path / "gone.png") == "No such file or directory"
        assert reason(tmp_path) == "not a regular file"
        os.mkfifo(tmp_path / "pipe.png")
        assert reason(tmp_path / "pipe.png") == "not a regular file"
        with pytest.raises(DecodeError, match="null byte"):
            decode_image("a\0b.png", GUARD)

    def test_content_counts_not_the_suffix(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jpg"
        Image.fromarray(colours()).save(path, format="PNG")
        assert np.array_equal(decode(path), colours())
        path.write_text("just a text, longer than any header that a format may look for\n" * 9)
        assert reason(path) == "not a picture of a known format"

    def test_documents_are_not_run(self, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        Image.fromarray(colours()).save(path, format="EPS")
        assert reason(path) == "not a picture of a known format"

    def test_a_message_is_one_line_whatever_the_name(self, tmp_path: Path) -> None:
        path = os.fsdecode(os.fsencode(tmp_path) + b"/a\n\x1b[31m\xff.png")
        with pytest.raises(DecodeError) as caught:
            decode_image(path, GUARD)
        assert str(caught.value) == (
            f"{tmp_path}/a\\n\\x1b[31m\\udcff.png: No such file or directory"
        )

    @settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_damage_is_an_error_or_a_picture(self, tmp_path: Path, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "ICO"]))
        buffer = io.BytesIO()
        Image.fromarray(colours(16, 16)).save(buffer, format=name)
        damaged = bytearray(buffer.getvalue())
        for _ in range(data.draw(st.integers(1, 4))):
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
        path = tmp_path / "damaged"
        path.write_bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
        try:
            assert decode(path, DecodeLimits(image_pixels=1_000_000)).ndim == 3
        except DecodeError as error:
            assert str(error).isprintable()


class TestPart:
    def test_a_picture_is_one_chunk_and_can_be_decoded_again(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.png", Image.fromarray(colours()))
        part = Part("file", Modality.IMAGE, str(path))
        for _ in range(2):
            ((chunk, image),) = decode_part(part, InputLimits(), lambda text: True)
            assert chunk == Chunk(None, None)
            assert isinstance(image, Image.Image)
            assert np.array_equal(np.asarray(image), colours())

    def test_the_side_is_passed_on(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.jpg", Image.new("RGB", (160, 80)))
        part = Part("file", Modality.IMAGE, str(path))
        ((_, image),) = decode_part(part, InputLimits(image_side=40), lambda text: True)
        assert isinstance(image, Image.Image)
        assert image.size == (80, 40)

    def test_many_threads_get_the_same(self, tmp_path: Path, photo: Image.Image) -> None:
        paths = [save(tmp_path / f"a{end}", photo) for end in (".jpg", ".png", ".webp", ".gif")]
        expected = [decode(path) for path in paths]
        with ThreadPoolExecutor(8) as pool:
            for _ in range(10):
                for pixels, again in zip(expected, pool.map(decode, paths), strict=True):
                    assert np.array_equal(pixels, again)

    def test_the_hash_is_that_of_the_bytes(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.png", Image.fromarray(colours()))
        part = Part("file", Modality.IMAGE, str(path))
        assert content_hash(part) == hashlib.sha256(path.read_bytes()).digest()
        os.mkfifo(tmp_path / "pipe.png")
        for name, why in (("gone.png", "No such file"), ("pipe.png", "not a regular file")):
            with pytest.raises(DecodeError, match=why):
                content_hash(Part("file", Modality.IMAGE, str(tmp_path / name)))


class TestQuiet:
    def test_pillow_warns_no_more(self, tmp_path: Path, photo: Image.Image) -> None:
        path = save(tmp_path / "a.jpg", photo, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
        with pytest.warns(UserWarning, match="Corrupt EXIF data"):
            decode(path)
        with quiet_pillow():
            assert decode(path).shape == (48, 64, 3)

    def test_c_libraries_print_no_more_but_python_does(self, tmp_path: Path) -> None:
        picture = Image.fromarray(colours(100, 100))
        noisy = save(tmp_path / "a.tiff", picture, compression="tiff_deflate")
        data = bytearray(noisy.read_bytes())
        data[10_000:10_100] = bytes(100)
        noisy.write_bytes(data)
        script = """if True:
            import sys
            from contextlib import nullcontext
            from mmsearch.config import DecodeLimits
            from mmsearch.decode import quiet_native_libraries
            from mmsearch.decode.image import decode_image
            from mmsearch.errors import DecodeError
            for quiet in (quiet_native_libraries, nullcontext):
                with quiet():
                    try:
                        decode_image(sys.argv[1], DecodeLimits())
                    except DecodeError:
                        print("damaged", file=sys.stderr)
            """
        done = subprocess.run(
            [sys.executable, "-c", script, str(noisy)], capture_output=True, text=True
        )
        first, *others, last = done.stderr.splitlines()
        assert (first, last) == ("damaged", "damaged")  # what libtiff printed before is gone
        assert "Decode" in "".join(others)  # and without, it is there

    def test_a_stream_that_is_not_the_process_own_stays(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for stream in (io.StringIO(), None):
            monkeypatch.setattr(sys, "stderr", stream)
            with quiet_native_libraries():
                assert sys.stderr is stream
