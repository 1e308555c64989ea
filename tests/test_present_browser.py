"""The gallery in a real browser: media decode, the style holds, and no name runs as a script."""

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from present_cases import hit_of, picture, row_hit, tone
from test_present_gallery import hostile_page

from mmsearch.present.gallery import Search, gallery_html
from mmsearch.records import Chunk, Modality

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine"),
]
FLAGS = """
    --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync
    --disable-background-networking --disable-component-update --virtual-time-budget=8000
    --window-size=500,900 --dump-dom
""".split()

PROBE = """
const heard = [...document.querySelectorAll('audio')].map(sound => new Promise(done => {
  const tell = () => done(sound.error ? sound.error.message : sound.duration);
  if (sound.readyState > 0 || sound.error) tell();
  sound.addEventListener('loadedmetadata', tell);
  sound.addEventListener('error', tell);
  sound.load();
}));
Promise.all(heard).then(durations => {
  const out = document.createElement('pre');
  const card = document.querySelector('article');
  out.id = 'probe';
  const shown = () => [...document.querySelectorAll('.heated')].map(
    one => [...one.querySelectorAll('img')].map(image => image.offsetWidth > 0));
  const before = shown();
  document.querySelectorAll('.heated label').forEach(label => label.click());
  out.textContent = JSON.stringify({
    durations,
    heat: [before, shown()],
    title: document.title,
    widths: [...document.images].map(image => image.naturalWidth),
    corner: card && getComputedStyle(card).borderTopLeftRadius,
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  });
  document.body.append(out);
});
"""


def probe(page: str, folder: Path, *, allow_all_scripts: bool) -> dict[str, Any]:
    """What a script sees that is put into a copy of the page.

    Args:
        page: The page.
        folder: Where the copy and the browser's profile go.
        allow_all_scripts: Whether the copy's policy lets any script run, or the probe alone.
    """
    digest = base64.b64encode(hashlib.sha256(PROBE.encode()).digest()).decode()
    allowed = "'unsafe-inline'" if allow_all_scripts else f"'sha256-{digest}'"
    # The policy is an attribute, so its quotes are escaped.
    policy = html.escape(f"default-src 'none'; script-src {allowed};").replace("&#x27;", "&#39;")
    copy = page.replace("default-src &#39;none&#39;;", policy, 1)
    assert copy != page
    return browse(copy.replace("</body>", f"<script>{PROBE}</script></body>"), folder)


def browse(page: str, folder: Path) -> dict[str, Any]:
    """What a page's own script says in an element ``probe``, once it has run in the browser."""
    path = folder / "copy.html"
    path.write_text(page)
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    seen: dict[str, Any] = json.loads(html.unescape(found[1]))
    return seen


def test_pictures_and_sounds_decode_under_the_pages_own_policy(tmp_path: Path) -> None:
    sound = tone(tmp_path / "a.wav", 9, 44_100)
    hits = [
        hit_of(picture(tmp_path / "a.png"), Modality.IMAGE),
        hit_of(sound, Modality.AUDIO, chunk=Chunk(5.0, 9.0)),
        row_hit(tmp_path),
    ]
    query = {"image": tmp_path / "a.png", "audio": sound}
    seen = probe(gallery_html([Search(query, hits)], "Title"), tmp_path, allow_all_scripts=False)
    assert seen["widths"] == [320, 320, 320]
    assert seen["durations"] == pytest.approx([9.0, 4.0], abs=0.1)
    assert seen["corner"] == "14px"
    assert seen["overflow"] == 0


def test_a_heat_map_is_taken_off_and_put_on_without_a_script(tmp_path: Path) -> None:
    hits = [hit_of(picture(tmp_path / "a.png"), Modality.IMAGE, rank=n) for n in (1, 2)]
    heat = {n: Image.new("RGB", (640, 320), "blue") for n in (1, 2)}
    page = gallery_html([Search({"text": "red"}, hits, heat=heat)], "Title")
    seen = probe(page, tmp_path, allow_all_scripts=False)
    assert seen["heat"] == [[[True, False]] * 2, [[False, True]] * 2]
    assert seen["widths"] == [320] * 4
    assert seen["overflow"] == 0


def test_no_name_runs_as_a_script_even_without_the_policy(tmp_path: Path) -> None:
    seen = probe(hostile_page(tmp_path), tmp_path, allow_all_scripts=True)
    assert seen["title"] == "</style></title><script>document.title='owned'</script>.png"
    assert 0 not in seen["widths"]
    assert seen["overflow"] == 0
