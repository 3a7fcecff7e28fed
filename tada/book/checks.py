"""Check a built site and its sources for what no tool looks for.

axe (`ci/axe.py`) judges accessibility in a browser, `sphinx -n -W` references, lychee links to other sites. None of
them sees a traceback in an output, a player that is not there, a path of the machine, or a file beside a page that is
missing. Each check is a function from a folder to a list of problems: of built HTML (:data:`CHECKS`), or of a checkout
(:data:`SOURCE_CHECKS`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup

from tada.book import notebooks, pages
from tada.errors import BookError

PAGE_BYTES = 300_000
SITE_BYTES = 65_000_000
BASE64_BYTES = 20_000
_ERROR_WORDS = re.compile(r"Traceback \(most recent call last\)|ModuleNotFoundError|IProgress not found")
_WARNING_WORDS = re.compile(r"\b\w*Warning:")
_LINKS = {
    **dict.fromkeys(("a", "link"), "href"),
    **dict.fromkeys(("img", "script", "audio", "source", "iframe"), "src"),
    "tr": "data-spectrogram",
    "steer-live": "data-from",
}
_BASE64 = re.compile(r"base64,([A-Za-z0-9+/=]+)")
_PATHS = re.compile(r"(?:Posix|Windows)Path\(|(?<![\w.~-])/(?:home|root|tmp)/[\w.-]+")
_UNREAD = ("search.html", "genindex.html")

Check = Callable[[Path], list[str]]


def _of_pages(find: Callable[[Path, Path], Iterable[str]]) -> Check:
    """Make a check of a site from a function that finds what is wrong with one page of it."""

    @wraps(find)
    def check(site: Path) -> list[str]:
        return [
            f"{page.relative_to(site).as_posix()}: {problem}"
            for page in _pages(site)
            for problem in dict.fromkeys(find(site, page))
        ]

    return check


@_of_pages
def broken_output(site: Path, page: Path) -> Iterator[str]:
    """Find errors and warnings of the code that a page ran."""
    yield from (f"shows {hit!r}" for hit in _ERROR_WORDS.findall(_soup(page).get_text(" ")))
    for output in _soup(page).select(".cell_output"):
        said = " ".join(output.get_text(" ").split())
        if output.select(".stderr") or _WARNING_WORDS.search(said):
            yield f"a cell's output warns: {said[:120]}"


@_of_pages
def embedded_files(site: Path, page: Path) -> Iterator[str]:
    """Find sound, or over 20 kB of something else, as base64: it cannot be loaded when wanted."""
    text = page.read_text(encoding="utf-8")
    if "data:audio" in text:
        yield "embeds audio as data:audio, write a file instead"
    elif (largest := max(map(len, _BASE64.findall(text)), default=0)) > BASE64_BYTES:
        yield f"embeds {largest / 1000:.0f} kB of base64, write a file instead"


@_of_pages
def machine_paths(site: Path, page: Path) -> Iterator[str]:
    """Find a ``PosixPath``, or a file in a home or scratch folder of the machine that built the page."""
    yield from (f"shows a path of this machine, {hit!r}" for hit in _PATHS.findall(_soup(page).get_text(" ")))


@_of_pages
def dead_links(site: Path, page: Path) -> Iterator[str]:
    """Find internal links, images, sounds and scripts whose file or anchor is not in the site."""
    targets = (target for _, target in _targets(page))
    yield from (f"{one!r} leads nowhere" for one in targets if not _resolves(site, page, one))


@_of_pages
def outside_assets(site: Path, page: Path) -> Iterator[str]:
    """Find scripts, styles, images and sounds fetched from elsewhere: the page would break without a network."""
    for tag, target in _targets(page):
        if tag != "a" and urlsplit(target).netloc and not _soup(page).find("link", rel="canonical", href=target):
            yield f"loads {target!r} from outside the site"


@_of_pages
def poor_labels(site: Path, page: Path) -> Iterator[str]:
    """Find images without a text or with a file's name for one, players without a label, figures without caption."""
    for image in _soup(page).select("article img, main img"):
        alt = (image.get("alt") or "").strip()
        if not alt or re.fullmatch(r"\S*[/\\.]\S*", alt):
            yield f"image {image.get('src')!r} has the alt text {alt!r}"
    for audio in _soup(page).find_all("audio"):
        if not (audio.get("aria-label") or audio.get("title") or audio.find_parent("figure")):
            yield f"the player of {audio.get('src')!r} does not say what it plays"
    for figure in _soup(page).select("article figure"):
        if not (figure.figcaption and figure.figcaption.get_text().strip()):
            yield "a figure has no caption"


@_of_pages
def lost_players(site: Path, page: Path) -> Iterator[str]:
    """Find sliders with other players than they declare, or none."""
    for slider in _soup(page).find_all("steer-slider"):
        declared, found = int(slider.get("data-players") or 0), len(slider.find_all("audio"))
        if declared != found or not found:
            yield f"a slider declares {declared} players, {found} are there"


@_of_pages
def heavy_pages(site: Path, page: Path) -> Iterator[str]:
    """Find pages whose HTML is over 300 kB."""
    if (size := page.stat().st_size) > PAGE_BYTES:
        yield f"{size / 1000:.0f} kB of HTML, at most {PAGE_BYTES / 1000:.0f}"


def heavy_site(site: Path) -> list[str]:
    """Find a site over 65 MB: too much for a visit."""
    whole = sum(file.stat().st_size for file in site.rglob("*") if file.is_file())
    return [f"the site: {whole / 1e6:.1f} MB, at most {SITE_BYTES / 1e6:.0f}"] * (whole > SITE_BYTES)


CHECKS: tuple[Check, ...] = (
    broken_output,
    embedded_files,
    dead_links,
    machine_paths,
    outside_assets,
    poor_labels,
    lost_players,
    heavy_pages,
    heavy_site,
)


def check(site: Path) -> list[str]:
    """List all problems of a built site; an empty site is one too."""
    if not _pages(site):
        return [f"{site}: holds no page"]
    for read in (_soup, _anchors):
        read.cache_clear()
    return [problem for one in CHECKS for problem in one(site)]


# ---- the sources


def stray_pairs(checkout: Path) -> list[str]:
    """Find notebooks whose `.ipynb` is not what the `.py` gives: changed by hand, with outputs, or an injected cell."""
    return [
        f"{path.relative_to(checkout).as_posix()}: its pair differs or is missing, run `tada pair`"
        for path in notebooks.unpaired(checkout / "notebooks")
    ]


def repeated_keys(checkout: Path) -> list[str]:
    """Find YAML files that give a key twice, of which YAML keeps the last without a word."""
    problems = []
    for path in sorted(
        file for place in ("*", "notebooks/*", ".github/**/*") for file in checkout.glob(f"{place}.yml")
    ):
        try:
            pages.load_yaml(path)
        except BookError as error:
            problems.append(str(error))
    return problems


def poor_parameters(checkout: Path) -> list[str]:
    """Find notebook parameters without a type or without a word on what they do."""
    return [
        f"notebooks/{path.name}: write `{one.name}: type = {one.default}  # what it does`"
        for path in sorted((checkout / "notebooks").glob("*.py"))
        for one in notebooks.parameters(path)
        if one.type == "None" or not one.help
    ]


def missing_contents(checkout: Path) -> list[str]:
    """Find pages of notebooks that the contents, `_toc.yml`, do not name: the site would not have them."""
    try:
        names = [spec.name for spec in pages.select(checkout / "notebooks")]
    except BookError:  # said by the build itself
        return []
    listed = re.findall(r"notebooks/(\S+)\s*$", (checkout / "_toc.yml").read_text(encoding="utf-8"), re.M)
    return [f"_toc.yml: does not name notebooks/{name}" for name in names if name not in listed]


SOURCE_CHECKS: tuple[Check, ...] = (stray_pairs, repeated_keys, poor_parameters, missing_contents)


def check_sources(checkout: Path) -> list[str]:
    """List all problems of a checkout."""
    return [problem for one in SOURCE_CHECKS for problem in one(checkout)]


# ---- html


def _pages(site: Path) -> list[Path]:
    return [page for page in sorted(site.rglob("*.html")) if "_static" not in page.relative_to(site).parts]


@lru_cache(maxsize=512)
def _soup(page: Path) -> Any:
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


def _targets(page: Path) -> Iterator[tuple[str, str]]:
    for tag, attribute in _LINKS.items():
        yield from (
            (tag, str(node[attribute])) for node in _soup(page).select(f"{tag}[{attribute}]") if node[attribute]
        )


def _resolves(site: Path, page: Path, target: str) -> bool:
    parts = urlsplit(target)
    if parts.scheme or parts.netloc or not (parts.path or parts.fragment):
        return True
    start = site if parts.path.startswith("/") else page.parent
    file = (start / unquote(parts.path).lstrip("/")).resolve() if parts.path else page.resolve()
    file = file / "index.html" if file.is_dir() else file
    if not file.is_file() or not parts.fragment or file.suffix != ".html" or file.name in _UNREAD:
        return file.is_file()
    return unquote(parts.fragment) in _anchors(file)


@lru_cache(maxsize=512)
def _anchors(page: Path) -> set[str]:
    nodes = _soup(page).find_all(True)
    return {node.get("id") for node in nodes} | {node.get("name") for node in nodes if node.name == "a"}
