"""What ACE-Step reads: prompts to states by UMT5, plain or weakened (ERG), and lyrics to token ids.

A song's ids have structure, cleaned English, and a vocabulary that is fetched on first use.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Collection
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tada.errors import CheckpointError, InputError, MissingFileError
from tada.models.ace_step.lyrics import ERG_SCALE

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MAX_TOKENS = 256
"""Of a prompt."""

REVISION = "d612523f50e252c0e138e68ae75b06223f96e934"
URL = f"https://raw.githubusercontent.com/ace-step/ACE-Step/{REVISION}/acestep/models/lyrics_utils/vocab.json"
SHA256 = "c2a66ea48c478c0bb9acb5497144b926acdeaa37128faa799508d40f2b9cc558"
VARIABLE = "TADA_LYRIC_VOCAB"

NO_LYRICS, LINE_END, START = 0, 2, 261

_SHORT = (
    "mrs misess, mr mister, dr doctor, st saint, co company, jr junior, maj major, gen general, drs doctors, "
    "rev reverend, lt lieutenant, hon honorable, sgt sergeant, capt captain, esq esquire, ltd limited, col colonel, "
    "ft fort"
)
ABBREVIATIONS = dict(pair.split() for pair in _SHORT.split(", "))
SYMBOLS = {"&": "and", "@": "at", "%": "percent", "#": "hash", "$": "dollar", "£": "pound", "°": "degree"}
CURRENCIES = {"£": "GBP", "$": "USD", "€": "EUR"}


def tokenise(
    tokenizer: Any, prompts: list[str], device: torch.device | str = "cpu", longest: int = MAX_TOKENS
) -> tuple[Tensor, Tensor]:
    """Token ids and bool mask ``[B, L]`` of prompts, padded to the longest of them and cut at ``longest``."""
    batch = tokenizer(prompts, padding=True, truncation=True, max_length=longest, return_tensors="pt")
    return batch["input_ids"].to(device), batch["attention_mask"].to(device).bool()


def text_states(encoder: Any, ids: Tensor, mask: Tensor, weak_blocks: Collection[int] = ()) -> Tensor:
    """Text states ``[B, L, text_dim]`` of ids and mask ``[B, L]``; ``weak_blocks`` have weakened queries (ERG)."""
    with ExitStack() as hooks:
        for index in weak_blocks:
            queries = encoder.encoder.block[index].layer[0].SelfAttention.q
            hooks.enter_context(queries.register_forward_hook(lambda _, __, output: output * ERG_SCALE))
        return encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state


# ---- lyrics


def song_ids(lyrics: str) -> tuple[list[int], list[bool]]:
    """Token ids and mask of a whole song; a single masked token for no lyrics.

    Args:
        lyrics: lines of English text or structure tags such as ``[verse]`` or ``[inst]``; empty for none.

    Raises:
        ValueError: letters that are not Latin: only English is supported. OSError: the vocabulary cannot be had.
    """
    if not lyrics:
        return [NO_LYRICS], [False]
    ids = [START]
    for line in (part.strip() for part in lyrics.split("\n")):
        ids += (line_ids(_latin(line)) if line else []) + [LINE_END]
    return ids, [True] * len(ids)


def line_ids(line: str) -> list[int]:
    """Token ids of one English line."""
    return vocabulary().encode("[en]" + clean(line).replace(" ", "[SPACE]")).ids


def clean(text: str) -> str:
    """English text as the checkpoint was trained on it: lower case, numbers and symbols in words."""
    text = numbers_in_words(text.replace('"', "").lower())
    for short, word in ABBREVIATIONS.items():
        text = re.sub(rf"\b{short}\.", word, text)
    for symbol, word in SYMBOLS.items():
        text = text.replace(symbol, f" {word} ").replace("  ", " ")
    return re.sub(r"\s+", " ", text.strip())


def numbers_in_words(text: str) -> str:
    """Amounts of money, decimals, ordinals and whole numbers of ``text`` as English words."""
    if not re.search(r"\d", text):
        return text
    from num2words import num2words

    text = re.sub(r"\b\d{1,3}(,\d{3})*(\.\d+)?\b", lambda m: m[0].replace(",", ""), text)
    text = re.sub(r"[£$€][\d.,]*\d+|[\d.,]*\d+[£$€]", lambda m: _money(m[0]), text)
    text = re.sub(r"\d+\.\d+", lambda m: num2words(float(m[0])), text)
    text = re.sub(r"(\d+)(?:st|nd|rd|th)", lambda m: num2words(int(m[1]), ordinal=True), text)
    return re.sub(r"\d+", lambda m: num2words(int(m[0])), text)


def _money(text: str) -> str:
    from num2words import num2words

    amount, sign = float(re.sub(r"[^\d.]", "", text)), re.sub(r"[\d.,]", "", text)
    words = num2words(amount, to="currency", currency=CURRENCIES[sign])
    return words.rpartition(", ")[0] if amount.is_integer() else words


def _latin(line: str) -> str:
    foreign = [c for c in line if c.isalpha() and not unicodedata.name(c, "").startswith("LATIN")]
    if foreign:
        raise InputError(f"got {''.join(foreign[:8])!r} in {line!r}; expected English: no other scripts are supported")
    return line


def vocabulary() -> Tokenizer:
    """The lyric tokeniser: the file that TADA_LYRIC_VOCAB names, else upstream's, fetched once and checked."""
    return _read(os.environ.get(VARIABLE) or _fetch())


@lru_cache(maxsize=2)
def _read(path: str) -> Tokenizer:
    from tokenizers import Tokenizer

    if not Path(path).is_file():
        raise MissingFileError(f"no lyric vocabulary at {path} (from {VARIABLE}); it is the file at {URL}")
    return Tokenizer.from_file(path)


def _fetch() -> str:
    import pooch

    try:
        ask = pooch.HTTPDownloader(timeout=8)
        folder = pooch.os_cache("tada")
        return pooch.retrieve(URL, f"sha256:{SHA256}", "ace_step_v1_lyrics.json", folder, downloader=ask)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"cannot fetch the lyric vocabulary of ACE-Step ({error}): get {URL} on a machine that is "
            f'online and set {VARIABLE} to the file; lyrics "" need none'
        ) from error
