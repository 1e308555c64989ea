"""Photographs that lie inside the scikit-image and scikit-learn wheels, and whose they are.

Only pictures that are in the wheels and whose licence the packages state are listed:
scikit-image's in the docstrings of ``skimage/data/_fetchers.py``, scikit-learn's in
``sklearn/datasets/images/README.txt``. Others (the motorcycle, the moon) come without one.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from mmsearch.errors import MMSearchError

_FOLDERS = {"skimage": "data", "sklearn": "datasets/images"}
_CC0 = "CC0 1.0"
_PUBLIC = "public domain"
_NO_KNOWN = "no known copyright restrictions"


@dataclass(frozen=True, slots=True)
class Photo:
    """A photograph in an installed package.

    Attributes:
        name: What the demo calls the file.
        source: The package and the file's name in it.
        licence: As the package states it.
        credit: Who made it.
    """

    name: str
    source: tuple[str, str]
    licence: str
    credit: str

    def read(self) -> bytes:
        """The file's bytes.

        Raises:
            MMSearchError: The package is not installed, or no longer holds the file.
        """
        package, file = self.source
        # find_spec locates a package without running it: importing these two takes seconds, and
        # skimage.data would try to download what is missing.
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise MMSearchError(
                f'the demo needs the photographs in {package}: pip install "mmsearch[demo]"'
            )
        path = Path(spec.submodule_search_locations[0], _FOLDERS[package], file)
        try:
            return path.read_bytes()
        except OSError as error:
            raise MMSearchError(f"cannot read the demo's photograph {path}: {error}") from error


PHOTOS = (
    Photo("astronaut.png", ("skimage", "astronaut.png"), _PUBLIC, "NASA"),
    Photo("brick-wall.png", ("skimage", "brick.png"), _CC0, "CC0 Textures"),
    Photo("cat.png", ("skimage", "chelsea.png"), _CC0, "Stefan van der Walt"),
    Photo("coffee.png", ("skimage", "coffee.png"), _CC0, "Rachel Michetti"),
    Photo("coins.png", ("skimage", "coins.png"), _NO_KNOWN, "Brooklyn Museum"),
    Photo("galaxies.jpg", ("skimage", "hubble_deep_field.jpg"), _PUBLIC, "NASA"),
    Photo("grass.png", ("skimage", "grass.png"), _CC0, "linolafett"),
    Photo("gravel.png", ("skimage", "gravel.png"), _CC0, "CC0 Textures"),
    Photo("horse.png", ("skimage", "horse.png"), _CC0, "Andreas Preuss"),
    Photo("photographer.png", ("skimage", "camera.png"), _CC0, "Lav Varshney"),
    Photo("retina.jpg", ("skimage", "retina.jpg"), _CC0, "Mikael Häggström"),
)
FLOWER = Photo("dahlia.jpg", ("sklearn", "flower.jpg"), "CC BY 2.0", "flickr.com/photos/vultilion")
ROCKET = Photo("rocket.jpg", ("skimage", "rocket.jpg"), _PUBLIC, "SpaceX")
TEMPLE = Photo(
    "temple.jpg", ("sklearn", "china.jpg"), "CC BY 2.0", "flickr.com/photos/danielbuechele"
)
EVERY_PHOTO = (*PHOTOS, FLOWER, ROCKET, TEMPLE)


def credits_text() -> str:
    """Whose the photographs are, a line each."""
    head = "Photographs from the scikit-image and scikit-learn packages, unchanged.\n\n"
    return head + "".join(
        f"{photo.name}: {photo.credit}, {photo.licence} ({'/'.join(photo.source)})\n"
        for photo in EVERY_PHOTO
    )
