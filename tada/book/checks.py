"""Gates: what a built site and its sources must not contain.

Each is a function from a folder to a list of problems: of built HTML (:data:`GATES`), or of a checkout
(:data:`SOURCE_GATES`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

PAGE_BYTES = 300_000
SITE_BYTES = 60_000_000
BASE64_BYTES = 20_000
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
    "tr": "data-spectrogram",
    "steer-slider": "manifest",
}
_BASE64 = re.compile(r"base64,([A-Za-z0-9+/=]+)")
_COLAB = re.compile(r"https://colab\.research\.google\.com/github/([^/]+/[^/]+)/blob/([^/]+)/(.+)")
_PATHS = re.compile(r"(?:Posix|Windows)Path\(|(?<![\w.~-])/(?:home|root|tmp)/[\w.-]+")
_NAMED = ("aria-label", "aria-labelledby", "title")
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


def machine_paths(site: Path) -> list[str]:
    """Pages that show a path of the machine that built them: a ``PosixPath``, or a file in a home or scratch folder."""
    return [
        f"{_name(site, page)}: shows a path of this machine, {hit!r}"
        for page in _pages(site)
        for hit in sorted(set(_PATHS.findall(_soup(page).get_text(" "))))
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


def heavy_site(site: Path) -> list[str]:
    """A site over 60 MB in all: too much for a visit, and for Pages to publish quickly."""
    size = sum(file.stat().st_size for file in site.rglob("*") if file.is_file())
    limit = SITE_BYTES / 1e6
    return [f"the site: {size / 1e6:.1f} MB, at most {limit:.0f}"] if size > SITE_BYTES else []


def embedded_files(site: Path) -> list[str]:
    """Pages that carry over 20 kB of something as base64: it belongs in a file of its own."""
    return [
        f"{_name(site, page)}: embeds {len(blob) / 1000:.0f} kB of base64, write a file instead"
        for page in _pages(site)
        for blob in _BASE64.findall(page.read_text(encoding="utf-8"))
        if len(blob) > BASE64_BYTES
    ]


def lost_players(site: Path) -> list[str]:
    """Sliders with fewer players than they declare, and cells tagged `player` whose output has none."""
    problems = []
    for page in _pages(site):
        for slider in _soup(page).find_all("steer-slider"):
            declared, found = int(slider.get("data-players") or 0), len(slider.find_all("audio"))
            if declared != found or not found:
                problems.append(f"{_name(site, page)}: a slider declares {declared} players, {found} are there")
        for cell in _soup(page).select(".cell.tag_player"):
            if cell.select(".cell_output") and not cell.find("audio"):
                problems.append(f"{_name(site, page)}: a cell is tagged `player`, its output has none")
    return problems


def missing_captions(site: Path) -> list[str]:
    """Players that do not say what they play, figures without caption, sliders whose table has none."""
    problems = []
    for page in _pages(site):
        for audio in _soup(page).find_all("audio"):
            if not _called(audio) and not _caption(audio.find_parent("figure"), "figcaption"):
                problems.append(f"{_name(site, page)}: the player of {audio.get('src')!r} does not say what it plays")
        for figure in _soup(page).select("article figure"):
            if not _caption(figure, "figcaption"):
                problems.append(f"{_name(site, page)}: a figure has no caption")
        for table in _soup(page).select("steer-slider table"):
            if not _caption(table, "caption"):
                problems.append(f"{_name(site, page)}: a table of players has no caption")
    return problems


def unnamed_controls(site: Path) -> list[str]:
    """Pages without language, title or one first heading, and controls of the text that a screen reader cannot name."""
    problems = []
    for page in _pages(site):
        soup = _soup(page)
        if not soup.find("article") or page.name in _UNREAD:
            continue
        if not soup.html or not soup.html.get("lang"):
            problems.append(f"{_name(site, page)}: the language of the page is not given")
        if not soup.title or not soup.title.get_text().strip():
            problems.append(f"{_name(site, page)}: the page has no title")
        if len(soup.select("article h1")) != 1:
            problems.append(f"{_name(site, page)}: {len(soup.select('article h1'))} first-level headings, expected 1")
        for control in soup.select("article button, article input, article select, article iframe, article a[href]"):
            if not _called(control) and not _named_inside(soup, control):
                problems.append(f"{_name(site, page)}: a {control.name} has no name: {_short(str(control))}")
    return problems


def repeated_ids(site: Path) -> list[str]:
    """Ids that a page gives twice: links and labels lead to the first only."""
    problems = []
    for page in _pages(site):
        ids = [node["id"] for node in _soup(page).select("article [id]")]
        problems += [f"{_name(site, page)}: the id {one!r} is given twice" for one in sorted(_twice(ids))]
    return problems


def dead_colab(site: Path) -> list[str]:
    """Links to Colab into another repository than that of `_config.yml`, or to a notebook missing or with outputs."""
    checkout = _checkout(site)
    if checkout is None:
        return []
    return [
        f"{_name(site, page)}: {target!r} {problem}"
        for page in _pages(site)
        for target in sorted({str(node["href"]) for node in _soup(page).find_all("a", href=_COLAB)})
        if (problem := _colab_problem(checkout, target))
    ]


def _colab_problem(checkout: Path, target: str) -> str:
    from tada.book.sphinx_ext import repository

    match = _COLAB.match(target)
    where, ref, file = match.groups() if match else ("", "", "")
    url, branch = repository(checkout)
    path = checkout / unquote(file)
    if not url.removesuffix(".git").rstrip("/").endswith(f"/{where}") or unquote(ref) != branch:
        return f"is not in the repository of _config.yml ({url or 'none is set'}, {branch})"
    if not path.is_file():
        return "opens no notebook of the repository"
    return "opens a notebook with outputs" if '"output_type"' in path.read_text(encoding="utf-8") else ""


GATES: tuple[Callable[[Path], list[str]], ...] = (
    broken_output,
    inline_audio,
    embedded_files,
    dead_links,
    machine_paths,
    dead_colab,
    outside_assets,
    poor_alts,
    missing_captions,
    lost_players,
    unnamed_controls,
    repeated_ids,
    heavy_pages,
    heavy_site,
)


def check(site: Path) -> list[str]:
    """All problems that the gates find in a built site; an empty site is one too."""
    if not _pages(site):
        return [f"{site}: holds no page"]
    _soup.cache_clear()
    return [problem for gate in GATES for problem in gate(site)]


# ---- the sources


def stray_pairs(checkout: Path) -> list[str]:
    """Notebooks whose `.ipynb` is not what the `.py` gives: changed by hand, with outputs, or an injected cell."""
    from tada.book import notebooks

    return [
        f"{path.relative_to(checkout).as_posix()}: its pair differs or is missing, run `tada pair`"
        for path in notebooks.unpaired(checkout / "notebooks")
    ]


def repeated_keys(checkout: Path) -> list[str]:
    """YAML files that give a key twice, of which YAML keeps the last without a word."""
    from tada.book.pages import BookError, load_yaml

    problems = []
    places = ("*.yml", "notebooks/*.yml", ".github/**/*.yml")
    for path in [file for place in places for file in sorted(checkout.glob(place))]:
        try:
            load_yaml(path)
        except BookError as error:
            problems.append(str(error))
    return problems


def poor_parameters(checkout: Path) -> list[str]:
    """Notebook parameters without a type or without a word on what they do."""
    from tada.book import notebooks

    return [
        f"notebooks/{path.name}: write `{one.name}: type = {one.default}  # what it does`"
        for path in sorted((checkout / "notebooks").glob("*.py"))
        for one in notebooks.parameters(path)
        if one.type == "None" or not one.help
    ]


SOURCE_GATES: tuple[Callable[[Path], list[str]], ...] = (stray_pairs, repeated_keys, poor_parameters)


def check_sources(checkout: Path) -> list[str]:
    """All problems that the gates find in a checkout."""
    return [problem for gate in SOURCE_GATES for problem in gate(checkout)]


def _called(node: Any) -> bool:
    return any((node.get(name) or "").strip() for name in _NAMED)


def _named_inside(soup: Any, control: Any) -> bool:
    if control.get_text().strip() or control.find("img", alt=True) or control.get("type") == "hidden":
        return True
    label = control.find_parent("label") or (control.get("id") and soup.find("label", attrs={"for": control["id"]}))
    return bool(label and label.get_text().strip()) or control.get("aria-hidden") == "true"


def _caption(node: Any, tag: str) -> bool:
    found = node.find(tag) if node else None
    return bool(found and found.get_text().strip())


def _twice(names: list[str]) -> set[str]:
    return {name for name in names if names.count(name) > 1}


def _checkout(site: Path) -> Path | None:
    for folder in site.resolve().parents:
        if (folder / "_toc.yml").is_file() and (folder / "notebooks").is_dir():
            return folder
    return None


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
