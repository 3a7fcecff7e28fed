"""What `make look` calls cut off: every kind is found, and what scrolls with a sign of it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ci.look import CLIPPED

TABLE = "<table style='width: 900px; flex: none'><tr><td>wide</td></tr></table>"
SHADOW = "overflow-x: auto; background-image: linear-gradient(red, red); background-attachment: local"


@pytest.mark.parametrize(
    ("style", "inner", "found"),
    [
        ("", "<table><tr><td>narrow</td></tr></table>", []),
        (SHADOW, TABLE, []),
        ("overflow-x: auto", TABLE, ["a TABLE can be scrolled, and nothing says so"]),
        ("overflow-x: hidden", TABLE, ["a TABLE is cut at the right"]),
        (
            "display: flex; flex-direction: row-reverse; overflow: hidden",
            TABLE,
            ["a TABLE begins where nobody can scroll"],
        ),
        ("overflow-x: hidden", f"<details><summary>more</summary>{TABLE}</details>", ["a TABLE is cut at the right"]),
    ],
)
def test_what_is_cut_off_is_found(page: Any, tmp_path: Path, style: str, inner: str, found: list[str]) -> None:
    (tmp_path / "page.html").write_text(f"<article><div style='width: 300px; {style}'>{inner}</div></article>")
    page.open((tmp_path / "page.html").as_uri())
    assert page.driver.execute_script(CLIPPED) == found
