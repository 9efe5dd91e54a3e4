"""A browser that shows pages, and tells what is to be seen of them.

Chromium's window cannot be as narrow as a phone, so each page lies in a frame of its width; pages side by side share
one start of the browser. A page is not loaded as it is but with a script at its end that measures it, and sends what it
found to the page around the frames.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--virtual-time-budget=10000",
)  # fmt: skip

_AROUND = """<!DOCTYPE html><body style="margin: 0; display: flex">%s<pre hidden id="found"></pre><script>
const found = {};
addEventListener('message', event => {
  found[event.data.name] = event.data;
  document.getElementById('found').textContent = JSON.stringify(found);
});
</script>"""

_MEASURE = """<script>
(() => {
  const all = (place, what) => [...place.querySelectorAll(what)];
  const box = thing => { const at = thing.getBoundingClientRect(); return [at.left, at.top, at.right, at.bottom]; };
  const longer = (length, line) => length + line.getTotalLength();
  const trouble = document.getElementById('trouble');
  const cards = all(document, '.card.plot');  // plotly's own parts have the class plot too
  const measured = card => [card.firstElementChild.id, {
    card: box(card),
    areas: all(card, '.nsewdrag').map(box),
    lines: all(card, '.scatterlayer .trace').map(trace => all(trace, '.js-line').reduce(longer, 0)),
    bars: all(card, '.barlayer .point path').map(box),
    legend: all(card, '.legend .bg').map(box),
    names: all(card, '.legendtext').map(box),
    titles: all(card, '.g-xtitle text, .g-ytitle text, .g-y2title text').map(box),
    ticks: all(card, '.xtick text, .ytick text, .y2tick text').map(box),
  }];
  const tell = () => parent.postMessage({
    name,
    trouble: trouble.hidden ? '' : trouble.textContent,
    width: document.documentElement.scrollWidth,
    height: document.body.getBoundingClientRect().height,
    dark: matchMedia('(prefers-color-scheme: dark)').matches,
    plots: Object.fromEntries(cards.map(measured)),
  }, '*');
  const drawn = () => cards.every(card => card.querySelector('.g-xtitle text'));
  const look = () => drawn() || !trouble.hidden ? tell() : setTimeout(look, 20);
  look();
})();
</script></body>"""


@dataclass(frozen=True)
class Frame:
    """A page to be shown."""

    name: str
    page: str
    width: int


@dataclass(frozen=True)
class Shown:
    """What was seen of a page."""

    width: int
    found: dict[str, Any]
    """What the script above measured; empty if it never came to it. Boxes are left, top, right, bottom."""
    picture: Image.Image


def chromium() -> str:
    """The path of the browser; where there is none the test is skipped, in CI (CI=true) it fails."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        reason = "not installed: chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return path


def show(folder: Path, frames: list[Frame], height: int, *, dark: bool) -> dict[str, Shown]:
    """Show pages side by side, under their names, with a browser that is started for it in `folder`, which is empty.

    `height`: of the window, in pixels; all of a page has to be in it, as nobody scrolls.
    """
    places = []
    for number, frame in enumerate(frames):
        page = folder / f"{number}.html"
        before, end, after = frame.page.rpartition("</body>")
        assert end, "not a whole page"
        page.write_text(before + _MEASURE + after, encoding="utf-8")
        places.append(
            f'<iframe name="{frame.name}" src="{page.name}" width="{frame.width}" height="{height}"'
            ' style="border: 0; flex: none"></iframe>'
        )
    around, picture = folder / "around.html", folder / "picture.png"
    around.write_text(_AROUND % "".join(places), encoding="utf-8")
    done = subprocess.run(
        [
            chromium(),
            *_OPTIONS,
            f"--user-data-dir={folder / 'profile'}",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            f"--window-size={sum(frame.width for frame in frames)},{height}",
            "--dump-dom",
            f"--screenshot={picture}",
            around.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    told = re.search(r'id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert told, done.stderr
    found = json.loads(unescape(told[1]) or "{}")
    with Image.open(picture) as image:
        whole = image.convert("RGB")
    shown, left = {}, 0
    for frame in frames:
        part = whole.crop((left, 0, left + frame.width, height))
        shown[frame.name] = Shown(frame.width, found.get(frame.name, {}), part)
        left += frame.width
    return shown
