"""Photograph every page of the built site in headless Chromium and check it.

No page scrolls sideways, no console message is left, and no formula, table, code or picture is cut off without a way to
scroll there that can be seen.

Each page is seen at 1400 and 390 pixels, light and dark; pictures go to _build/looks. Needs chromium and chromedriver;
without them it says so and stops with success.
"""

from __future__ import annotations

import base64
import shutil
import sys
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SITE, LOOKS = ROOT / "_build" / "html", ROOT / "_build" / "looks"
WIDTHS = {1400: 900, 390: 844}
SCHEMES = ("light", "dark")
SKIPPED = {"genindex.html", "search.html", "index.html"}
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars"
)
STILL = """
const style = document.createElement("style");
style.textContent = "*, *::before, *::after { transition: none !important; animation: none !important }";
document.head.append(style);
"""
CLIPPED = """
const cut = new Set(), closed = [...document.querySelectorAll("article details:not([open])")];
closed.forEach((one) => (one.open = true));
for (const one of document.querySelectorAll("article :is(math, table, pre, img, audio)")) {
  const box = one.getBoundingClientRect();
  for (let around = one; box.width && around.tagName !== "ARTICLE"; around = around.parentElement) {
    const style = getComputedStyle(around), frame = around.getBoundingClientRect();
    if (around.tagName === "math" || style.overflowX === "visible") continue;
    const scrolls = style.overflowX !== "hidden" && around.scrollWidth > around.clientWidth + 1;
    const told = style.backgroundAttachment.includes("local") || around.offsetHeight - around.clientHeight > 5;
    if (box.left + around.scrollLeft < frame.left - 1) cut.add(`a ${one.tagName} begins where nobody can scroll`);
    else if (box.right > frame.right + 1 && !scrolls) cut.add(`a ${one.tagName} is cut at the right`);
    else if (scrolls && !told) cut.add(`a ${one.tagName} can be scrolled, and nothing says so`);
    break;
  }
}
closed.forEach((one) => (one.open = false));
return [...cut];
"""
"""What a reader cannot get to, or not see how, folded or not; a shadow or a scroll bar says that there is more."""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


def serve() -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def browser(profile: str) -> Any:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in [*FLAGS.split(), f"--user-data-dir={profile}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))


def resize(driver: Any, width: int, height: int) -> None:
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def look(driver: Any, address: str, name: str, width: int, scheme: str) -> list[str]:
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    resize(driver, width, WIDTHS[width])
    driver.get(address)
    driver.execute_script(STILL)
    driver.execute_async_script("document.fonts.ready.then(() => setTimeout(arguments[0], 300))")
    where = f"{name} at {width} px, {scheme}"
    extent = driver.execute_script("return document.documentElement.scrollWidth")
    problems = [f"{where}: {extent} px wide, scrolls sideways"] if extent > width else []
    problems += [f"{where}: {what}" for what in driver.execute_script(CLIPPED)]
    entries = [entry for entry in driver.get_log("browser") if entry["level"] in ("WARNING", "SEVERE")]
    problems += [f"{where}: console says {entry['message']}" for entry in entries]
    resize(driver, width, driver.execute_script("return document.documentElement.scrollHeight"))
    driver.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 200))")
    picture = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
    (LOOKS / f"{name.replace('/', '-').removesuffix('.html')}-{width}-{scheme}.png").write_bytes(
        base64.b64decode(picture["data"])
    )
    return problems


def main() -> int:
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        print("skipped: chromium and chromedriver are not installed (Debian: apt-get install chromium chromium-driver)")
        return 0
    pages = [page.relative_to(SITE).as_posix() for page in sorted(SITE.rglob("*.html"))]
    pages = [page for page in pages if page not in SKIPPED and not page.startswith("_")]
    if not pages:
        print("there is no site to look at: run `make book` first")
        return 1
    LOOKS.mkdir(parents=True, exist_ok=True)
    server = serve()
    with tempfile.TemporaryDirectory() as profile:
        driver = browser(profile)
        try:
            home = f"http://127.0.0.1:{server.server_port}/"
            seen = [(page, width, scheme) for page in pages for width in WIDTHS for scheme in SCHEMES]
            problems = [problem for view in seen for problem in look(driver, home + view[0], *view)]
        finally:
            driver.quit()
            server.shutdown()
    print(
        "\n".join([*problems, f"{len(pages)} pages, {len(seen)} views, {len(problems)} problems, pictures in {LOOKS}"])
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
