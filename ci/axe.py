"""Check the built site for accessibility with axe-core, light and dark, at 1400 and 390 pixels.

axe-core is not part of this project. Fetch it once, then run this; without it, or without Chromium, it says so and
stops with success:

    mkdir -p _build/axe && cd _build/axe && npm pack axe-core && tar -xzf axe-core-*.tgz
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import look

AXE = look.ROOT / "_build" / "axe" / "package" / "axe.min.js"
# The theme's buttons show a shortcut or a symbol beside the name that they are given: not ours to change.
OPTIONS = """{runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'], resultTypes: ['violations'],
    rules: {'label-content-name-mismatch': {enabled: false}}}"""


def violations(driver: Any, code: str) -> list[dict[str, Any]]:
    """What axe finds on the open page."""
    driver.execute_script(code)
    script = f"axe.run(document, {OPTIONS}).then(found => arguments[0](found.violations))"
    return list(driver.execute_async_script(script))


def main(site: Path = look.SITE) -> int:
    if not AXE.is_file() or not look.shutil.which("chromium"):
        print(f"skipped: needs chromium, and axe-core at {AXE.relative_to(look.ROOT)} (see the top of ci/axe.py)")
        return 0
    look.SITE = site
    pages = [page.relative_to(site).as_posix() for page in sorted(site.rglob("*.html"))]
    pages = [page for page in pages if page not in look.SKIPPED and not page.startswith("_")]
    server, code, found = look.serve(), AXE.read_text(encoding="utf-8"), 0
    with tempfile.TemporaryDirectory() as profile:
        driver = look.browser(profile)
        driver.set_script_timeout(60)
        try:
            for page, width, scheme in [(p, w, s) for p in pages for w in look.WIDTHS for s in look.SCHEMES]:
                media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
                driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
                look.resize(driver, width, look.WIDTHS[width])
                driver.get(f"http://127.0.0.1:{server.server_port}/{page}")
                driver.execute_script(look.STILL)
                for one in violations(driver, code):
                    found += 1
                    first = one["nodes"][0]
                    what = f"{one['id']} ({len(one['nodes'])} times): {first['html'][:150]}"
                    print(f"{page} at {width} px, {scheme}: {what}")
        finally:
            driver.quit()
            server.shutdown()
    print(f"{len(pages)} pages, {found} violations")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
