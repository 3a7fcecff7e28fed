"""Colab: the look around, the restart that is asked for, links; and the Sphinx extension that puts links on pages."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from docutils import nodes

import tada
from tada.book import colab
from tada.book import sphinx_ext as site
from tada.book.provenance import Provenance
from tada.display import directive

URL = "https://github.com/some/where"


def test_setup_says_what_there_is_and_on_colab_the_sizes_of_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colab, "size_of", lambda checkpoint: "at most 2.5 GB")
    found = colab.setup(library=tada)
    assert {"Python", "torch", "GPU", "time"} <= set(found)
    assert found["to be downloaded"] == "nothing, the minis ship along"
    assert found["torch"] in repr(found) and f"<td>{found['torch']}</td>" in found._repr_html_()
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release")
    told = colab.setup(library=tada)["to be downloaded"]
    assert told.startswith("nothing, the minis ship along. With the checkpoint `public`: ")
    assert "stabilityai/stable-audio-open-1.0: at most 2.5 GB" in told


def test_an_unreachable_hub_is_said_not_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError

    monkeypatch.setattr("huggingface_hub.model_info", fail)
    assert colab.size_of("some/where") == "size unknown (ConnectionError)"
    files = [SimpleNamespace(size=2_000_000_000), SimpleNamespace(size=None), SimpleNamespace(size=500_000_000)]
    monkeypatch.setattr("huggingface_hub.model_info", lambda *a, **k: SimpleNamespace(siblings=files))
    assert colab.size_of("some/where") == "at most 2.5 GB"


def test_a_package_replaced_under_the_runtime_asks_for_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    colab.check_loaded()
    monkeypatch.setitem(sys.modules, "numpy", SimpleNamespace(__version__="1.0.0"))
    with pytest.raises(colab.RestartNeeded, match=r"numpy 1\.0\.0 is loaded, but .* Restart the runtime once"):
        colab.check_loaded()
    there = colab.version
    monkeypatch.setattr(colab, "version", lambda name: "1.0.0" if name == "numpy" else there(name))
    monkeypatch.setitem(sys.modules, "numpy", SimpleNamespace(__version__="1.0.0+cu126"))
    colab.check_loaded()  # a local build is no other version


def test_links_are_built_from_repository_and_tag() -> None:
    where = "https://colab.research.google.com/github/some/where/blob/v1/notebooks/01.ipynb"
    assert colab.link(URL, "v1", "notebooks/01.ipynb") == colab.link(f"{URL}.git/", "v1", "notebooks/01.ipynb") == where
    for bad in ("https://example.org/some/where", "https://github.com/some"):
        with pytest.raises(ValueError, match=r"expected https://github\.com/NAME/REPOSITORY"):
            colab.link(bad, "v1", "x")


@pytest.mark.parametrize(
    ("url", "line"),
    [
        (URL, f'%pip install --quiet "tada-companion @ git+{URL}@v1"'),
        ("", "%pip install --quiet tada_companion-*.whl"),
    ],
)
def test_the_first_cell_installs_on_colab_and_nowhere_else(
    url: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from IPython.core.inputtransformer2 import TransformerManager

    cell = colab.first_cell(url, "v1")
    assert [one.strip() for one in cell.splitlines() if "install" in one] == [line]
    assert "\ntada.book.colab.setup(library=" in cell
    asked: list[tuple[str, str]] = []
    shell = SimpleNamespace(run_line_magic=lambda name, rest: asked.append((name, rest)))
    code = compile(TransformerManager().transform_cell(cell), "cell", "exec")
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    exec(code, {"get_ipython": lambda: shell})
    assert asked == []
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setattr(colab, "size_of", lambda checkpoint: "2 GB")
    exec(code, {"get_ipython": lambda: shell})
    assert asked == [("pip", line.removeprefix("%pip "))]


# ---- the extension


@pytest.fixture
def app(tmp_path: Path) -> Any:
    for folder in ("notebooks", "_build/source/notebooks", "_build/html/notebooks"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "_toc.yml").write_text("")
    for name in ("01_one", "04_where", "04_where_else"):
        (tmp_path / "notebooks" / f"{name}.ipynb").write_text("{}")
    config = SimpleNamespace(html_theme_options={"launch_buttons": {"colab_url": "x"}})
    build = tmp_path / "_build"
    builder = SimpleNamespace(name="html")
    return SimpleNamespace(srcdir=build / "source", outdir=build / "html", config=config, builder=builder)


@pytest.mark.parametrize(
    ("page", "name"),
    [
        ("notebooks/01_one", "01_one"),
        ("notebooks/04_where-audioldm2", "04_where"),
        ("notebooks/04_where_else", "04_where_else"),
        ("notebooks/09_none", ""),
        ("book/index", ""),
        ("book/01_one", ""),
    ],
)
def test_links_come_below_the_title_and_the_file_lies_beside_the_page(app: Any, page: str, name: str) -> None:
    def body() -> str:
        context = {"body": "<h1>One</h1><p>Words.</p><h1>x</h1>"}
        site.add_launch_links(app, page, "", context, None)
        return context["body"]

    plain = body()
    if name:
        assert plain.startswith(f'<h1>One</h1>\n<p class="tada-doors"><a href="{name}.ipynb" download')
    assert plain.count("tada-doors") == bool(name)
    app.config.html_theme_options["repository_url"] = "https://github.com/executablebooks/jupyter-book"  # its default
    assert "Colab" not in body()
    (app.srcdir / "_config.yml").write_text(f"repository: {{url: {URL}, branch: v1}}\n")
    assert (f"/github/some/where/blob/v1/notebooks/{name}.ipynb" in body()) == bool(name)
    site.copy_notebooks(app, None)
    assert (app.outdir / "notebooks" / "01_one.ipynb").read_text() == "{}"


INSIDE = [nodes.paragraph("", "before")]


def shown(app: Any, kind: Any, pattern: str) -> list[nodes.Node]:
    """What stands in the place of a directive around a paragraph."""
    state = SimpleNamespace(document=SimpleNamespace(settings=SimpleNamespace(env=SimpleNamespace(app=app))))
    made = kind("", [pattern], {}, [], 1, 0, "", state, SimpleNamespace(reporter=None))
    made.parse_content_to_nodes = lambda: INSIDE
    return made.run()


def put(app: Any, file: str, content: object) -> None:
    path = app.srcdir / "files" / "notebooks" / file
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))


def test_the_slider_of_a_page_is_found_by_its_name(app: Any) -> None:
    assert shown(app, directive.SteeringSlider, "*/*") == INSIDE
    clip = {"file": "zero.mp3", "alpha": 0, "percent": 0, "lufs": -20, "peak": 0.5}
    sweep = {"concept": "tempo", "method": "caa", "prompt": "a song", "seed": 3, "clips": [clip]}
    put(app, "04_where/patched/manifest.json", {})
    put(app, "05_steer/tempo/manifest.json", {"sweeps": [sweep]})
    assert shown(app, directive.SteeringSlider, "04*/*") == INSIDE, "players, no slider"
    (found,) = shown(app, directive.SteeringSlider, "*/*")
    assert 'src="../notebooks/05_steer/tempo/zero.mp3"' in found.astext()


def test_the_live_instrument_of_a_page_stands_around_what_was_made_before(app: Any) -> None:
    assert shown(app, directive.LiveInstrument, "05*/*") == INSIDE
    put(app, "05_steer/live/live.json", {"bytes": 12})
    start, middle, end = shown(app, directive.LiveInstrument, "05*/*")
    assert middle is INSIDE[0] and end.astext() == "</steer-live>"
    assert start.astext().startswith('<steer-live data-from="../notebooks/05_steer/live/live.json" data-bytes="12">')


def test_toggles_get_a_name_and_references_are_items_of_their_list(app: Any) -> None:
    written = '<summary><span class="toctree-toggle"></span></summary><summary>Words</summary>'
    context = {
        "body": '<div role="list"><div role="doc-biblioentry">A book.</div></div>',
        "generate_toctree_html": lambda kind, depth: written + kind + str(depth),
    }
    site.mend_page(app, "page", "", context, None)
    assert '<div role="listitem">A book.' in context["body"]
    tree = context["generate_toctree_html"]("sidebar", depth=2)
    assert tree.count("<summary aria-label=") == 1 and tree.endswith("<summary>Words</summary>sidebar2")


def test_times_are_those_of_the_build(app: Any) -> None:
    for name, seconds in (("01_one", 12.4), ("02_two", 150), ("03_three", None)):
        (app.srcdir / "notebooks" / f"{name}.ipynb").write_text("{}")
        if seconds:
            Provenance("key", seconds, "then").write(app.srcdir / "notebooks" / f"{name}.json")
    assert site.page_times(app) == [("01_one", "12 s"), ("02_two", "2.5 min"), ("03_three", "not in this build")]


def test_equations_become_mathml_and_bad_ones_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    assert "<mfrac>" in site.mathml(nodes.Text(r"\frac{a}{b}"), block=True)
    index = site.mathml(nodes.Text(r"\bar{\mathbf h}_{\tilde c}^{(i)}"))
    assert "<msubsup>" in index and not caplog.messages, "an index stands beside its letter"
    assert site.mathml(nodes.Text(r"\nosuchcommand{a<b}")) == r"\nosuchcommand{a&lt;b}"
    assert "cannot turn" in caplog.text
