"""A hostile string in every field that reaches a page: rendered, it shows as text."""

from __future__ import annotations

import shlex
from pathlib import Path

import pandas as pd
import pytest
import torch
from bs4 import BeautifulSoup
from docutils.core import publish_string
from myst_parser.docutils_ import Parser

from tada import escape
from tada.audio import Clip
from tada.book import build, notebooks, provenance
from tada.book.notebooks import Parameter
from tada.book.pages import PageSpec
from tada.display import players, slider, tables
from tada.display.players import Sound
from tada.errors import InputError
from tada.evaluation.layout import write

HOSTILE = (
    "<script>alert(1)</script>",
    "`x` <img src=x onerror=alert(1)> `",
    "```\n<img src=x onerror=alert(1)>\n```",
    "\n:::\n\n<b onclick=alert(1)>x</b>",
    "a | b <i>",
    "{ref}`x` [a](javascript:alert(1)) ![b](c) <http://d.e>",
    '" onerror="alert(1)',
    "' onload='alert(1)",
    "$x$ **bold** _x_ # h &lt; &amp;",
    "</code></pre></td><script>",
    "\\\\ \\",
)


def is_plain(page: BeautifulSoup, *elements: str) -> bool:
    """Whether a page has no element that acts, and none of the others that are named."""
    acts = any(name.startswith("on") for element in page.find_all() for name in element.attrs)
    return not acts and not page.find(["script", "img", *elements])


def shows(page: BeautifulSoup, text: str) -> bool:
    return " ".join(text.split()) in " ".join(page.get_text().split())


def rendered(markdown: str) -> BeautifulSoup:
    settings = {
        "myst_enable_extensions": ["colon_fence", "dollarmath"],
        "halt_level": 5,
        "report_level": 1,
        "raw_enabled": True,
    }
    said = publish_string(markdown, parser=Parser(), writer_name="html5", settings_overrides=settings).decode()
    body = BeautifulSoup(said, "html.parser").body
    assert not body.find(class_="system-message"), "a warning, which is an error in the book"
    return body


@pytest.mark.parametrize("text", HOSTILE)
def test_in_the_box_of_a_page(text):
    declared = [Parameter("prompt", "str", '"a song"', text), Parameter("other", "str", text, "")]
    record = provenance.Provenance("key", 1, "then", {}, {text: "abc"})
    page = rendered(provenance.box(PageSpec("one", Path("one.py")), declared, {"prompt": text}, record))
    assert is_plain(page, "a", "b", "i") and len(page.find_all("td")) == 8
    assert shows(page, text) and shows(page, provenance.format_value(text))
    ours, theirs = provenance.commands("one", "one", {"prompt": text})
    assert shows(page, ours) and shows(page, theirs) and "\n" not in ours + theirs
    if "\n" not in text:
        assert shlex.split(ours)[-1] == text


@pytest.mark.parametrize("text", HOSTILE)
def test_in_the_heading_of_a_page(tmp_path, text):
    path = tmp_path / "one.py"
    path.write_text("# %% [markdown]\n# # One\n\n# %%\n1 + 1\n")
    spec = PageSpec("one", path, title=f"A {text}", about=f"A {text}.")
    page = rendered(build._with_heading(notebooks.read(path), spec).cells[0].source)
    assert is_plain(page, "a", "b") and shows(page, f"A {text}.")


@pytest.mark.parametrize("text", HOSTILE)
def test_in_players_and_sliders(page, text):
    record = {"prompt": text, "seed": text, "model": text, "checkpoint": text}
    wave = torch.sin(torch.arange(8000) * 0.2)[None] / 4
    sounds = [Sound(Clip(wave * share, 16_000, record), text, share, share, {text: share}) for share in (0.0, 1.0)]
    sweep = slider.AlphaSweep(text, "caa", sounds, text, text, text, [text])
    for shown in (players.show(sounds, "a", text).data, slider.steer([sweep], "b", text).data):
        soup = BeautifulSoup(shown, "html.parser")
        assert is_plain(soup) and shows(soup, text), shown


@pytest.mark.parametrize("text", HOSTILE)
def test_in_tables(tmp_path, text):
    names = dict.fromkeys(("checkpoint", "concept", "method", "layers"), text)
    numbers = {"value": 1.0, "low": 0.0, "high": 2.0, "best": True, "tied": False}
    cells = pd.DataFrame([{**names, "column": f"lpaps {text}", **numbers}])
    write(cells, tmp_path)
    frame = pd.DataFrame({text: [text]})
    for shown in (
        (tmp_path / "table.html").read_text(),
        tables.table(frame).to_html(),
        tables.plain_table(frame),
        tables.folded(frame, text).data,
    ):
        page = BeautifulSoup(shown, "html.parser")
        assert is_plain(page) and shows(page, text)
    written = (tmp_path / "table.tex").read_text()
    assert written.count("&") - written.count(r"\&") == 8
    assert written.count("\n") == 4


def test_latex_and_json():
    assert escape.latex("a_b & 50 % #1 {x} ~ ^ \\ $") == (
        r"a\_b \& 50 \% \#1 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{} \$"
    )
    assert (
        escape.json({"a": [float("nan"), (1.5, float("-inf"))], "b": "é\n"})
        == '{"a": [null, [1.5, null]], "b": "é\\n"}'
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_score_that_is_not_finite_takes_no_player_away(page, value):
    wave = torch.sin(torch.arange(8000) * 0.2)[None] / 4
    sounds = [Sound(Clip(wave * s, 16_000, {"prompt": "a"}), "a", s, s, {"bpm": value, "b": 1.0}) for s in (0.0, 1.0)]
    for shown in (players.show(sounds, "a").data, slider.steer([slider.AlphaSweep("a", "caa", sounds)], "b").data):
        assert BeautifulSoup(shown, "html.parser").find(attrs={"data-metrics": '{"b": 1.0}'})
    for manifest in page.glob("*/manifest.json"):
        assert "NaN" not in manifest.read_text() and "Infinity" not in manifest.read_text()
    with pytest.raises(InputError, match="finite"):
        slider.steer([slider.AlphaSweep("a", "caa", [Sound(sounds[0].clip, "a", value, 0.0)])], "c")
