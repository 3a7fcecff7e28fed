"""A stand-in for the lyric vocabulary, which is fetched."""

from __future__ import annotations

from pathlib import Path

import pytest

from tada.models.ace_step.text import VARIABLE


@pytest.fixture
def vocabulary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file of its kind: characters, the special tokens, and pieces to tell words apart."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

    special = {"[STOP]": 0, "[UNK]": 1, "[SPACE]": 2, "[en]": 259, "[START]": 261, "[verse]": 6683, "[inst]": 6688}
    pieces = {c: 10 + i for i, c in enumerate("abcdefghijklmnopqrstuvwxyz'-,")} | {"th": 50, "the": 51}
    tokenizer = Tokenizer(models.BPE(special | pieces, [("t", "h"), ("th", "e")], unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    tokenizer.save(str(tmp_path / "vocabulary.json"))
    monkeypatch.setenv(VARIABLE, str(tmp_path / "vocabulary.json"))
