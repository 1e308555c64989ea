"""Damaged files: found by `verify`, never answered from, restored by `repair` as far as it says."""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from contents import (
    Answers,
    Contents,
    answers_of,
    contents_of,
    differences,
    write_media,
    write_texts,
)
from fakes import fake_model
from killing import fast_folder, one_thread, run_apart

import mmsearch
from mmsearch.engine import hubs

FLIPS_PER_FILE = 2
SOAK_FLIPS = int(os.environ.get("MMSEARCH_SOAK_FLIPS", "2000"))
UNCHECKED = ("writer.lock", "lock.mdb", "catalog.sqlite-shm", "catalog.sqlite-wal")
MANIFESTS = {"data.mdb", "manifest.json"}
TEXTS = 70


@dataclass
class Sound:
    """An index that nothing has happened to."""

    folder: Path
    sources: Path
    contents: Contents
    answers: Answers

    @property
    def path(self) -> Path:
        return self.folder / "sound"

    def files(self) -> list[str]:
        names = (path.name for path in self.path.iterdir() if path.is_file())
        return sorted(name for name in names if name not in UNCHECKED)

    def copy(self) -> Path:
        path = self.folder / "damaged"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(self.path, path)
        return path


def make(folder: Path, recipe: str | None) -> Sound:
    """Make an index with every kind of file, deleted items and several segments."""
    sources = write_media(write_texts(folder / "sources", TEXTS), 6)
    gone = write_texts(folder / "gone", 3)
    with mmsearch.create(folder / "sound", model=fake_model(), recipe=recipe) as index:
        index.add([sources, gone])
        index.remove(gone)
        (sources / "7.txt").write_text("changed entirely")
        index.add(sources)
        # Words of dead items count until the next commit, those of an index made anew never do.
        write_texts(sources / "more", 1)
        index.add(sources)
    shutil.rmtree(gone)
    path = folder / "sound"
    return Sound(folder, sources, contents_of(path), answers_of(path))


RECIPE = "OPQ8,IVF16,PQ8x4"
ONLY_IVF = pytest.mark.parametrize("sound", [RECIPE], indirect=True)
"""Where an exact index has nothing to add: it is made of fewer kinds of files."""


@pytest.fixture(scope="module", params=[None, RECIPE], ids=["exact", "ivf"])
def sound(request: pytest.FixtureRequest) -> Iterator[Sound]:
    with fast_folder() as folder, one_thread(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(hubs, "LEAST", 4)  # so that there are banks, too
        yield make(folder, request.param)


def state_of(path: Path) -> tuple[Contents, Answers]:
    """Everything that can be read: raises MMSearchError when something is damaged."""
    return contents_of(path), answers_of(path)


def answered(path: Path) -> tuple[Contents, Answers] | None:
    """What the index answers, None when it refuses."""
    try:
        return state_of(path)
    except mmsearch.MMSearchError:
        return None


def check_not_silent(sound: Sound, path: Path, what: str, *, apart: bool = False) -> None:
    """Nothing wrong is answered, and `verify` sees what is refused."""
    answer = run_apart(answered, path) if apart else answered(path)
    if answer is not None:
        assert answer[0] == sound.contents, f"{what}: a wrong item"
        assert differences(answer[1], sound.answers) == [], f"{what}: a wrong answer"
    assert answer is not None or mmsearch.verify(path), f"{what}: refused, but nothing is found"


def check_repair(sound: Sound, path: Path, what: str) -> None:
    """`repair` leaves nothing damaged and keeps its word."""
    found = mmsearch.verify(path)
    done = mmsearch.repair(path)
    assert bool(done) == bool(found), what
    assert mmsearch.verify(path) == [], what
    check_repaired(sound, path, f"{what}: {found[:1]}: {done}")


def check_repaired(sound: Sound, path: Path, what: str) -> None:
    """What is left is right, what is not was said; indexing again restores all."""
    held = contents_of(path)
    for key, item in held.items():
        assert item == sound.contents.get(key), what
    if len(held) < len(sound.contents):
        assert "dropped" in what or "lost" in what, what
    with mmsearch.open(path, model=fake_model()) as index:
        index.add(sound.sources)
    assert contents_of(path) == sound.contents, what
    assert mmsearch.verify(path) == [], what


def flip(path: Path, rng: random.Random, head_bytes: int = 256) -> str:
    """Flip one bit: anywhere, or near the beginning or the end."""
    content = bytearray(path.read_bytes())
    ranges = (len(content), min(head_bytes, len(content)), -min(head_bytes, len(content)))
    reach = rng.choice(ranges)
    at = rng.randrange(reach) if reach > 0 else len(content) - 1 - rng.randrange(-reach)
    content[at] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return f"byte {at} of {len(content)} in {path.name}"


def truncate(path: Path, rng: random.Random) -> str:
    size = rng.randrange(path.stat().st_size)
    os.truncate(path, size)
    return f"{path.name} cut to {size}"


def delete(path: Path, rng: random.Random) -> str:
    path.unlink()
    return f"{path.name} deleted"


def swap(path: Path, rng: random.Random) -> str:
    """Put another file of the index in its place, of the same size where there is one."""
    left_alone = {path.name, *UNCHECKED}
    if path.name in MANIFESTS:
        left_alone |= MANIFESTS  # without both nothing can be repaired
    others = [p for p in sorted(path.parent.iterdir()) if p.name not in left_alone]
    size = path.stat().st_size
    other = next((p for p in others if p.stat().st_size == size), rng.choice(others))
    held = path.read_bytes()
    shutil.copyfile(other, path)
    other.write_bytes(held)
    return f"{path.name} swapped with {other.name}"


def kinds(sound: Sound) -> list[str]:
    """One file of each kind, the largest."""
    by_kind: dict[str, str] = {}
    for name in sorted(sound.files(), key=lambda name: (sound.path / name).stat().st_size):
        by_kind[Path(name).suffix if name[0] == "0" else name] = name
    return list(by_kind.values())


DAMAGES: tuple[Callable[[Path, random.Random], str], ...] = (flip, truncate, delete, swap)


def test_flipped_bits_are_found_and_never_answered_from(sound: Sound) -> None:
    rng = random.Random(0)
    for name in kinds(sound):
        for _ in range(FLIPS_PER_FILE):
            path = sound.copy()
            what = flip(path / name, rng)
            assert mmsearch.verify(path), what
            check_not_silent(sound, path, what)


@ONLY_IVF
def test_truncated_missing_and_swapped_files_are_found(sound: Sound) -> None:
    rng = random.Random(1)
    for name in kinds(sound):
        for damage in DAMAGES[1:]:
            path = sound.copy()
            check_not_silent(sound, path, damage(path / name, rng))


@ONLY_IVF
def test_repair_keeps_its_word(sound: Sound) -> None:
    rng = random.Random(2)
    for name in kinds(sound):
        path = sound.copy()
        check_repair(sound, path, rng.choice(DAMAGES)(path / name, rng))


@ONLY_IVF
def test_a_sound_index_is_left_alone(sound: Sound) -> None:
    path = sound.copy()
    before = {name: (path / name).read_bytes() for name in sound.files()}
    assert mmsearch.verify(path) == []
    assert mmsearch.repair(path) == []
    assert {name: (path / name).read_bytes() for name in sound.files()} == before


@ONLY_IVF
def test_damaged_codes_cost_no_item(sound: Sound) -> None:
    path = sound.copy()
    for name in sound.files():
        if name.endswith((".codes", ".codebook")):
            flip(path / name, random.Random(3))
    mmsearch.repair(path)
    assert contents_of(path) == sound.contents


@ONLY_IVF
def test_a_damaged_catalog_costs_nothing(sound: Sound) -> None:
    path = sound.copy()
    delete(path / "catalog.sqlite", random.Random(4))
    assert any("catalog" in line for line in mmsearch.repair(path))
    assert contents_of(path) == sound.contents
    assert differences(answers_of(path), sound.answers) == []


@ONLY_IVF
def test_lost_records_leave_an_empty_index_of_the_same_model(sound: Sound) -> None:
    path = sound.copy()
    (path / "data.mdb").unlink()
    with pytest.raises(mmsearch.DamagedIndexError, match="repair"):
        mmsearch.open(path, model=fake_model())
    with pytest.raises(mmsearch.DamagedIndexError, match="repair"):
        mmsearch.create(path, model=fake_model())
    assert any("are lost" in line for line in mmsearch.repair(path))
    with mmsearch.open(path, model=fake_model()) as index:
        assert index.info().items == 0


@ONLY_IVF
def test_an_index_without_any_manifest_is_beyond_repair(sound: Sound) -> None:
    path = sound.copy()
    (path / "manifest.json").unlink()
    (path / "data.mdb").write_bytes(bytes(8192))
    assert mmsearch.verify(path)
    with pytest.raises(mmsearch.DamagedIndexError, match="beyond repair"):
        mmsearch.repair(path)


@pytest.mark.soak
def test_soak_of_damage(sound: Sound) -> None:
    """Also without seals, as after a crash: then queries run in a process of their own."""
    rng = random.Random(5)
    for n in range(SOAK_FLIPS):
        path = sound.copy()
        if n % 2:
            for seal in path.glob("*.seal"):
                seal.unlink()
        name = rng.choice(sound.files() + 5 * ["data.mdb"])
        if (path / name).exists():
            what = rng.choice((flip, flip, flip, *DAMAGES))(path / name, rng)
            check_not_silent(sound, path, what, apart=True)
            check_repair(sound, path, what)
