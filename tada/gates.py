"""Gates: what a built site must not contain. Each is a function from a folder of HTML to a list of problems."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

PAGE_BYTES = 300_000
_ERROR_WORDS = re.compile(r"Traceback \(most recent call last\)|ModuleNotFoundError|IProgress not found")
_WARNING_WORDS = re.compile(r"\b\w*Warning:")
_LINKS = {
    "a": "href",
    "link": "href",
    "img": "src",
    "script": "src",
    "audio": "src",
    "source": "src",
    "iframe": "src",
}
_UNREAD = ("search.html", "genindex.html")


def broken_output(site: Path) -> list[str]:
    """Pages that show an error or a warning of the code they ran."""
    problems = []
    for page in _pages(site):
        text = _soup(page).get_text(" ")
        problems += [f"{_name(site, page)}: shows {hit!r}" for hit in sorted(set(_ERROR_WORDS.findall(text)))]
        for output in _soup(page).select(".cell_output"):
            if output.select(".stderr") or _WARNING_WORDS.search(output.get_text(" ")):
                problems.append(f"{_name(site, page)}: a cell's output warns: {_short(output.get_text(' '))}")
    return problems


def inline_audio(site: Path) -> list[str]:
    """Pages that carry sound as base64: it ships twice and cannot be loaded lazily."""
    return [
        f"{_name(site, page)}: embeds audio as data:audio, write a file instead"
        for page in _pages(site)
        if "data:audio" in page.read_text(encoding="utf-8")
    ]


def dead_links(site: Path) -> list[str]:
    """Internal links, images, sounds and scripts whose file or anchor is not in the site."""
    return [
        f"{_name(site, page)}: {target!r} leads nowhere"
        for page in _pages(site)
        for _, target in _targets(page)
        if _internal(target) and not _resolves(site, page, target)
    ]


def outside_assets(site: Path) -> list[str]:
    """Scripts, styles, images and sounds fetched from elsewhere: the page would break without a network."""
    return [
        f"{_name(site, page)}: loads {target!r} from outside the site"
        for page in _pages(site)
        for tag, target in _targets(page)
        if tag != "a" and urlsplit(target).netloc and not _is_canonical(page, target)
    ]


def poor_alts(site: Path) -> list[str]:
    """Images of a page's text without an alternative text, or with one that is a file's name."""
    problems = []
    for page in _pages(site):
        for image in _soup(page).select("article img, main img"):
            alt = (image.get("alt") or "").strip()
            if not alt or re.fullmatch(r"\S*[/\\.]\S*", alt):
                problems.append(f"{_name(site, page)}: image {image.get('src')!r} has the alt text {alt!r}")
    return sorted(set(problems))


def heavy_pages(site: Path) -> list[str]:
    """Pages whose HTML is over 300 kB: something is embedded that belongs in a file."""
    return [
        f"{_name(site, page)}: {page.stat().st_size / 1000:.0f} kB of HTML, at most {PAGE_BYTES / 1000:.0f}"
        for page in _pages(site)
        if page.stat().st_size > PAGE_BYTES
    ]


GATES: tuple[Callable[[Path], list[str]], ...] = (
    broken_output,
    inline_audio,
    dead_links,
    outside_assets,
    poor_alts,
    heavy_pages,
)


def check(site: Path) -> list[str]:
    """All problems that the gates find in a built site; an empty site is one too."""
    if not _pages(site):
        return [f"{site}: holds no page"]
    _soup.cache_clear()
    return [problem for gate in GATES for problem in gate(site)]


def _pages(site: Path) -> list[Path]:
    return [page for page in sorted(site.rglob("*.html")) if "_static" not in page.relative_to(site).parts]


def _name(site: Path, page: Path) -> str:
    return page.relative_to(site).as_posix()


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 120 else words[:117] + "..."


@lru_cache(maxsize=512)
def _soup(page: Path) -> Any:
    from bs4 import BeautifulSoup

    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


def _targets(page: Path) -> Iterator[tuple[str, str]]:
    for tag, attribute in _LINKS.items():
        for node in _soup(page).find_all(tag):
            if node.get(attribute):
                yield tag, str(node[attribute])


def _internal(target: str) -> bool:
    parts = urlsplit(target)
    return not parts.scheme and not parts.netloc and bool(parts.path or parts.fragment)


def _resolves(site: Path, page: Path, target: str) -> bool:
    parts = urlsplit(target)
    file = (
        site / parts.path.lstrip("/") if parts.path.startswith("/") else page.parent / unquote(parts.path)
    ).resolve()
    if not parts.path:
        file = page.resolve()
    if file.is_dir():
        file = file / "index.html"
    if not file.is_file():
        return False
    if not parts.fragment or file.suffix != ".html" or file.name in _UNREAD:
        return True
    name = unquote(parts.fragment)
    return bool(_soup(file).find(id=name) or _soup(file).find("a", attrs={"name": name}))


def _is_canonical(page: Path, target: str) -> bool:
    return any(node.get("href") == target for node in _soup(page).select("link[rel=canonical], link[rel=license]"))
