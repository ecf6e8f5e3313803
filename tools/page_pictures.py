"""Recreate the pictures of the dashboard and of a rollout's report, and check both pages.

    python -m tools.page_pictures DIRECTORY [--pictures OUT] [--axe AXE_JS]

DIRECTORY must not exist: a project for platform local is created there, deployed, and ended at the
end. Clients send requests while a version is rolled out that fails after a while. The pictures are
made from the pages of this stack with Chromium and chromedriver, which must be on the PATH. AXE_JS
is the file `axe.min.js` of axe-core (npm): then its rules for WCAG 2.2 AA and best practices are
run on each page in each color scheme and size, and violations end the command with status 1.
"""

import argparse
import base64
import json
import signal
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from berth_protocol.model_card import read_card
from tests.bad_versions import package_version
from tests.browser import Browser, open_browser
from tests.engine.project import Load, Project

MODEL, VERSION = "digits", "3"
_CLIENTS, _PAUSE_SECONDS = 4, 0.1
# Calls that packaging, the shadow and the first step need.
_GOOD_CALLS = 1900
_ROLLOUT = ("rollout", MODEL, VERSION, "--yes", "--json", "--steps", "shadow,25,50,100")
_GUARDS = (
    "--bake",
    "20",
    "--max-failed",
    "5%",
    "--max-slow",
    "40%",
    "--max-different",
    "40%",
    "--slow-seconds",
    "0.1",
)
# Name, color scheme, width in CSS pixels, and scale. Zoom of 200 % halves the width in CSS pixels.
_VIEWS = (
    ("light", "light", 1280, 1.0),
    ("dark", "dark", 1280, 1.0),
    ("light, 320 px", "light", 320, 1.0),
    ("dark, 320 px", "dark", 320, 1.0),
    ("light, zoom of 200 %", "light", 640, 2.0),
)
_TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
_READ_PIXELS = """
const picture = new Image();
picture.src = `data:image/png;base64,${arguments[0]}`;
return picture.decode().then(() => {
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  const data = context.getImageData(0, 0, picture.width, picture.height).data;
  let text = "";
  for (let at = 0; at < data.length; at += 8192)
    text += String.fromCharCode(...data.subarray(at, at + 8192));
  return btoa(text);
});
"""
_RUN_AXE = """
const result = await axe.run(document, {runOnly: arguments[0]});
const list = found => found.map(rule => ({
  rule: rule.id, impact: rule.impact, help: rule.help,
  elements: rule.nodes.map(node => `${node.html.slice(0, 160)} | ${node.any[0]?.message ?? ""}`)
}));
return {
  version: axe.version, passes: result.passes.length,
  violations: list(result.violations), incomplete: list(result.incomplete)
};
"""


def main() -> None:
    """Run the stack, make the pictures, and print what axe-core found as one JSON line per view."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--pictures", type=Path, default=Path("docs/how-to"))
    parser.add_argument("--axe", type=Path)
    arguments = parser.parse_args()
    axe = arguments.axe.read_text() if arguments.axe else None
    project = _create_project(arguments.directory.resolve())
    violations = 0
    try:
        with tempfile.TemporaryDirectory() as profile, open_browser(Path(profile)) as browser:
            with _create_load(project).running(_CLIENTS), _dashboard(project) as url:
                time.sleep(60)  # The plots show what was before.
                rollout = project.start(*_ROLLOUT, *_GUARDS)
                browser.open(url)
                browser.wait_for(
                    "return document.getElementById('rollouts').textContent.includes(arguments[0])",
                    f"watching, version {VERSION} receives 25 %",
                    seconds=600,
                )
                time.sleep(10)
                _save(browser, url, arguments.pictures / "watch-a-stack.png", height=950)
                violations += _check(browser, "dashboard", url, axe)
                stdout, stderr = rollout.communicate(timeout=900)
            if not stdout:
                raise SystemExit(stderr)
            report = Path(json.loads(stdout)["report"]).as_uri()
            _save(browser, report, arguments.pictures / "roll-out-a-version.png", height=1150)
            violations += _check(browser, "report", report, axe)
    finally:
        project.berth("destroy", "--yes")
    sys.exit(1 if violations else 0)


def _create_project(root: Path) -> Project:
    root.mkdir(parents=True)
    project = Project.copy_to(root)
    package_version(*(root, project.environment, "failing"), name=VERSION, good_calls=_GOOD_CALLS)

    def simplify(config: Any) -> None:
        config["berth:models"] = {MODEL: {"versions": {"1": {}}}}
        clients = {"default": {"rate_per_second": 100_000, "burst": 100_000}}
        config["berth:gateway"]["clients"] = clients

    project.edit(simplify)
    project.berth("up", "--yes")
    return project


def _create_load(project: Project) -> Load:
    return Load(
        endpoint=project.json("status")["endpoint"],
        headers={"x-api-key": project.key(), "content-type": "application/json"},
        path=f"/v2/models/{MODEL}/infer",
        body=json.dumps(read_card(project.root / "models" / MODEL / "1").example).encode(),
        pause_seconds=_PAUSE_SECONDS,
    )


@contextmanager
def _dashboard(project: Project) -> Iterator[str]:
    """Run `berth dashboard` during the block."""
    process = project.start("dashboard", "--port", "0")
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()


def _save(browser: Browser, url: str, path: Path, *, height: int) -> None:
    """Write a picture of the beginning of a page with 256 colors."""
    browser.prefer("light")
    browser.resize(1000, height)
    browser.open(url)
    browser.save_screenshot(path)
    # A page's own policy forbids images in its address.
    browser.open("about:blank")
    source = base64.b64encode(path.read_bytes()).decode()
    pixels = np.frombuffer(base64.b64decode(browser.run(_READ_PIXELS, source)), np.uint8)
    path.write_bytes(_build_png(pixels.reshape(height, 1000, 4)[:, :, :3]))
    print(f"{path}: {path.stat().st_size:,} bytes", file=sys.stderr)


def _build_png(pixels: NDArray[np.uint8]) -> bytes:
    """Return a picture with the 256 colors that are used most, and the nearest for the others."""
    height, width, _ = pixels.shape
    colors, places, counts = np.unique(
        pixels.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True
    )
    palette = colors[np.argsort(-counts)[:256]]
    distances = ((colors[:, None].astype(int) - palette[None]) ** 2).sum(axis=2)
    indices = distances.argmin(axis=1).astype(np.uint8)[places.ravel()].reshape(height, width)
    rows = np.hstack([np.zeros((height, 1), np.uint8), indices])

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
        + chunk(b"PLTE", palette.tobytes())
        + chunk(b"IDAT", zlib.compress(rows.tobytes(), 9))
        + chunk(b"IEND", b"")
    )


def _check(browser: Browser, page: str, url: str, axe: str | None) -> int:
    """Run axe-core in each view of a page, and return the number of violated rules."""
    violations = 0
    for name, scheme, width, scale in _VIEWS if axe else ():
        browser.prefer(scheme)
        browser.resize(width, 800, scale=scale)
        browser.open(url)
        browser.run(str(axe))
        found = browser.run(f"return (async function() {{{_RUN_AXE}}})(arguments[0])", _TAGS)
        print(json.dumps({"page": page, "view": name, **found}), flush=True)
        violations += len(found["violations"])
    return violations


if __name__ == "__main__":
    main()
