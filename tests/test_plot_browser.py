"""The page of points in a real browser: hover, legend, zoom, keys, and names that mean harm."""

import base64
import hashlib
import html
import re
from pathlib import Path
from typing import Any

import numpy as np
from media import picture
from test_plot import hostile_page
from test_present_browser import browse
from test_present_browser import pytestmark as pytestmark

import mmsearch
from mmsearch import Chunk, EmbeddedChunk, Embeddings, Item, Modality, Part

# It runs before the page's own script, so that it hears of everything that goes wrong there.
PROBE = """{
const problems = [];
addEventListener('error', event => problems.push(event.message));
document.addEventListener('securitypolicyviolation', event => problems.push(event.blockedURI));
const tell = found => {
  const out = document.createElement('pre');
  out.id = 'probe';
  out.textContent = JSON.stringify({...found, problems, title: document.title});
  document.body.append(out);
};
const send = (type, [x, y], more) => {
  const box = canvas.getBoundingClientRect();
  const at = {clientX: box.left + x, clientY: box.top + y, bubbles: true, cancelable: true};
  const Kind = type === 'wheel' ? WheelEvent : PointerEvent;
  canvas.dispatchEvent(new Kind(type, {...at, ...more}));
};
const place = point => lens()(point);
const press = key => document.activeElement.dispatchEvent(
  new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true}));
const words = () => card.hidden ? null : card.innerText.split(/\\s*\\n\\s*/);
const ink = () => {
  draw();  // and not when the next frame is due: the browser's virtual time may end before
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
  return pixels.filter((value, place) => place % 4 === 3 && value).length;
};
addEventListener('load', () => {
  canvas.setPointerCapture = () => {};  // no pointer of a made-up event can be captured
  STEPS;
});
}"""

STEPS = """(async () => {
  const seen = {blank: ink()};
  const point = data.points[3];
  send('pointermove', place(point));
  await picture_.decode();
  seen.hover = words();
  seen.thumbnail = [picture_.naturalWidth, picture_.alt, document.getElementById('name').href];
  send('pointermove', [2, 2]);
  seen.left = words();
  send('pointerdown', place(point)); send('pointerup', place(point)); send('pointermove', [2, 2]);
  seen.kept = words()[0];
  press('Escape');
  seen.let_go = words();
  const spot = place(point);
  send('wheel', spot, {deltaY: -500});
  seen.zoomed = [view.zoom > 2, Math.hypot(place(point)[0] - spot[0], place(point)[1] - spot[1])];
  const before_drag = place(point);
  send('pointerdown', [50, 50]); send('pointermove', [90, 70]); send('pointerup', [90, 70]);
  seen.dragged = [0, 1].map(axis => place(point)[axis] - before_drag[axis]);
  canvas.focus(); press('0');
  press('ArrowLeft'); const first = current; press('ArrowRight');
  seen.stepped = [first !== null, current !== first];
  press('Enter');
  seen.focused = document.activeElement.id;
  press('Escape');
  const before = ink();
  buttons[0].click();
  seen.toggled = [buttons[0].getAttribute('aria-pressed'), ink() < before];
  buttons[1].dispatchEvent(new MouseEvent('dblclick'));
  seen.only = buttons.map(button => button.getAttribute('aria-pressed'));
  seen.overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  tell(seen);
})()"""

HOVER_ALL = """
  for (const point of data.points) { show(point, true); }
  document.getElementById('name').focus();
  setTimeout(() => tell({last: document.getElementById('name').textContent}), 100);
"""


def seen(page: str, folder: Path, steps: str, *, allow_all_scripts: bool = False) -> dict[str, Any]:
    """What the probe tells of a copy of the page that lets it run."""
    steps = steps.replace("picture_", "document.getElementById('picture')")
    script = PROBE.replace("STEPS", steps)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = "'unsafe-inline';" if allow_all_scripts else rf"'sha256-{digest}' \1;"
    allowed = html.escape(policy).replace("&#x27;", "&#39;")
    copy, changed = re.subn(r"(?<=script-src )(&#39;[^;]*?&#39;);(?= style-src)", allowed, page)
    assert changed == 1
    return browse(copy.replace("<title>", f"<script>{script}</script><title>", 1), folder)


def test_a_reader_can_look_around(tmp_path: Path) -> None:
    normal = np.random.default_rng(0).standard_normal
    chunks = []
    for n in range(40):
        kind = ("red", "green")[n % 2]
        part = Part("file", Modality.IMAGE, str(picture(tmp_path / f"{n}.png", kind, side=90)))
        item = Item(part.path or "", (part,), columns={"kind": kind}, id=n)
        chunks.append(EmbeddedChunk(item, part, Chunk(), None))
    vectors = normal((40, 4)).astype(np.float32)
    found = Embeddings(tmp_path / "photos", "s", 40, tuple(chunks), vectors)
    mmsearch.plot(found, tmp_path / "a.html", color="kind")
    told = seen((tmp_path / "a.html").read_text(), tmp_path, STEPS)
    assert told["problems"] == []
    assert told["blank"] > 1000
    assert told["hover"] == ["3.png", "image", "kind", "green"]
    assert told["thumbnail"] == [64, "3.png", (tmp_path / "3.png").as_uri()]
    assert (told["left"], told["kept"], told["let_go"]) == (None, "3.png", None)
    assert told["zoomed"][0] and told["zoomed"][1] < 2  # a wheel event has whole pixels
    assert np.allclose(told["dragged"], [40, 20], atol=0.01)
    assert told["stepped"] == [True, True]
    assert told["focused"] == "name"
    assert told["toggled"] == ["false", True]
    assert told["only"] == ["false", "true"]
    assert told["overflow"] == 0


def test_no_name_runs_as_a_script_even_without_the_policy(tmp_path: Path) -> None:
    page = hostile_page(tmp_path)
    told = seen(page, tmp_path, HOVER_ALL, allow_all_scripts=True)
    assert told["problems"] == []
    assert "owned" not in told["title"].replace("document.title = 'owned'", "")
    assert told["last"] == "[bold red]:smile:[/].png"
