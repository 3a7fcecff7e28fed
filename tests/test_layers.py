"""The picture of the package's layers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tada.book import layers
from tada.errors import BookError

GRAPH = {"low": frozenset(), "mid": frozenset({"low"}), "top": frozenset({"mid", "low"}), "aside": frozenset({"low"})}


def test_imports_are_read_but_for_those_of_type_checkers(tmp_path: Path) -> None:
    package = tmp_path / "pack"
    (package / "mid").mkdir(parents=True)
    (package / "__init__.py").write_text("from pack import top\n")
    (package / "low.py").write_text(
        "import os\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pack.top\n"
    )
    (package / "mid" / "part.py").write_text("from pack.mid import other\ndef f():\n    from pack.low import x\n")
    (package / "top.py").write_text("import pack.low\nfrom pack import mid\n")
    (package / "data.py").write_text("x = 1\n")
    (package / "aside.py").write_text("from pack import low\n")
    assert layers.read_imports(package) == GRAPH


def test_every_layer_imports_from_lower_ones_only() -> None:
    assert layers.sort_layers(GRAPH) == [["low"], ["aside", "mid"], ["top"]]
    with pytest.raises(BookError, match="a circle of imports: .* is imported by"):
        layers.sort_layers({**GRAPH, "low": frozenset({"top"})})


def test_the_picture_says_what_it_shows_and_leaves_out_what_follows() -> None:
    assert layers.direct_imports(GRAPH)["top"] == {"mid"}
    figure = layers.draw(GRAPH)
    assert 'aria-label="Layers of the package, from the top: top; then aside, mid; then low."' in figure
    assert figure.count("<path") == 3 and figure.count("<rect") == 4


def test_the_page_on_the_layout_names_what_there_is() -> None:
    package = Path(layers.__file__).parents[1]
    text = (package.parent / "book" / "layout.md").read_text()
    table, where = text.split("## What each folder is for")[1].split("## Where would I change")
    first = "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    assert {name.rstrip("/") for name in re.findall(r"`(.*?)`", first)} == set(layers.read_imports(package))
    paths = re.findall(r"`([\w/]+(?:/|\.py))`", where)
    assert len(paths) >= 10
    assert [path for path in paths if not (package / path).exists()] == []
