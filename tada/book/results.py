"""Which results pages read: those of their own stores, and those that ship with the checkout, a sample of them checked.

What a page reads and makes is noted by its kernel from the log events of `tada.results`, see `tada.store.shipped`.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tada.book import provenance
from tada.errors import BookError
from tada.io import sha256

ABOUT = "about.json"


class Kept(NamedTuple):
    """Where the results of pages are kept, and found.

    Attributes:
        home: pages are run in its folder `notebooks`, and keep their results in `_build` beside it.
        shipped: folder of results that ship; None for none.
        seed: of the sample of those that is computed again; None for no sample.
    """

    home: Path
    shipped: Path | None = None
    seed: int | None = 0

    def environment(self, page: str, output: Path) -> dict[str, str]:
        """Return the variables of a kernel that executes a page into `output`."""
        folder = "" if self.shipped is None else str(self.shipped.resolve())
        notes = str(provenance.notes(output, "used"))
        check = "" if self.seed is None else f"{page} {self.seed}"
        return {"TADA_RESULTS": folder, "TADA_CHECK": check, "TADA_USED": notes}


def find(book: Path, fresh: bool = False, seed: int | None = None) -> Kept:
    """Say where the results of a checkout's pages are kept and found.

    Args:
        book: the checkout.
        fresh: in a folder of their own for this very package, so that nothing that ships or is older is found.
        seed: of the sample that is computed again; None for another each time.

    Raises:
        BookError: `TADA_RESULTS` in the environment names a folder without results.
    """
    if fresh:
        return Kept(book / "_build" / "fresh" / folder_hash(book / "tada")[:12])
    named = os.environ.get("TADA_RESULTS")
    folder = book / "results" if named is None else Path(named)
    there = named != "" and (folder / ABOUT).is_file()
    if named and not there:
        raise BookError(f"TADA_RESULTS names {named}, where no results ship: expected {ABOUT} in it; empty for none")
    return Kept(book, folder if there else None, random.randrange(10**6) if seed is None else seed)


def folder_hash(folder: Path) -> str:
    """Return the sha256 of the names and contents of a folder's files."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and "__pycache__" not in file.parts]
    return sha256("\0".join(f"{file.relative_to(folder)}\0{sha256(file)}" for file in files).encode())


def take_used(output: Path) -> dict[str, Any]:
    """Return what was noted of results that the page at `output` read, and forget it.

    Returns:
        `shipped`: numbers of the units that ship and were read. `own`: the units of its own store, and which of them
        ship, too, by their numbers: `both`. `made`: key of a vector or an autoencoder -> where it lies. `checked`: how
        many units that ship were computed again, how many of them rounding made `others` of, the `largest` difference
        of the rest, and what is `wrong`.
    """
    events = provenance.take(output, "used")
    used: dict[str, Any] = {
        name: list(dict.fromkeys(unit for event in events for unit in event.get(name, ())))
        for name in ("shipped", "own", "both")
    }
    used["made"] = dict(event["made"] for event in events if "made" in event)
    checked = [event for event in events if "checked" in event]  # each tells of all before it, too
    return used | (checked[-1] if checked else {"checked": 0, "others": 0, "largest": 0.0, "wrong": []})


def count(used: Mapping[str, Any], page: str, kept: Kept) -> dict[str, Any]:
    """Count what a page used, as from :func:`take_used`, of results that ship; empty where none do.

    Returns:
        `scores` that were read, those that are `stale`, made for the page and not asked for, and the page's `own`;
        `checked, others, largest, seed`; `date` and `command` of the results.
    """
    if kept.shipped is None:
        return {}
    about = json.loads((kept.shipped / ABOUT).read_text(encoding="utf-8"))
    said = about | about["pages"].get(page, {"units": []})
    made = {unit for span in said["units"] for unit in range(*span)}
    own = sum(not unit.startswith("setting ") for unit in used["own"])
    found = {"scores": len(used["shipped"]), "stale": len(made - {*used["shipped"], *used["both"]}), "own": own}
    found |= {name: used[name] for name in ("checked", "others", "largest")}
    return found | {"seed": kept.seed, "date": said["date"], "command": said["command"]}


def seconds(kept: Kept) -> dict[str, float]:
    """Read how long each page took when what ships was made."""
    if kept.shipped is None:
        return {}
    pages = json.loads((kept.shipped / ABOUT).read_text(encoding="utf-8"))["pages"]
    return {page: float(about.get("seconds", 0.0)) for page, about in pages.items()}


def describe(counts: Mapping[str, Any]) -> str:
    """Say where a page's scores come from, by :func:`count`; nothing where none that ship were made for it."""
    if not counts or not counts["scores"] + counts["stale"]:
        return ""
    said = [f"{counts['scores']:,} scores from results/ made on {counts['date']} by `{counts['command']}`"]
    if counts["scores"]:
        again = f"{counts['checked']:,} computed again here (seed {counts['seed']})"
        others = f", {counts['others']:,} of which rounding made others" if counts["others"] else ""
        said.append(f"{again}{others}, largest difference {counts['largest']:.1g}")
    if counts["stale"]:
        said.append(f"{counts['stale']:,} made for this page by other code, weights or settings, and not used")
    return "; ".join([*said, *([f"{counts['own']:,} computed here"] if counts["own"] else [])])


def describe_wrong(used: Mapping[str, Any], page: str, kept: Kept) -> str:
    """Say what is wrong with results that ship, by the sample that a page computed again; nothing where all is well."""
    if not used["wrong"]:
        return ""
    listed = "".join(f"\n  {one}" for one in used["wrong"])
    return (
        f"{page}: of the values that ship in {kept.shipped}, {len(used['wrong'])} are not what is computed here (seed "
        f"{kept.seed}):{listed}\nThey were edited, or the code was that made them: make them anew by "
        "`tada results make`, or build without them, `make book FRESH=1`"
    )
