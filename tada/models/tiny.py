"""Tiny checkpoints: random weights in the real classes, with the sites of the public models at minimal width.

They are saved in the hub's own folder layout, so that what loads them is what loads the public checkpoints. Their
sound is noise; they are for tests, for trying code, and for looking at the topology. The sizes are in ``tiny.json``.
"""

from __future__ import annotations

import json
import string
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tada.errors import InputError, check_name
from tada.io import write_json
from tada.models.pipeline import quiet_loading

SIZES = Path(__file__).with_suffix(".json")
"""Architecture -> part -> its class, its sizes, and which of these grow with the width, in the order of drawing."""

CHARACTERS = ["▁", *string.ascii_letters, *string.digits, *string.punctuation]
"""Vocabulary of the text encoders, beside three special tokens."""


def build(name: str, folder: str | Path, seed: int = 0, width: int = 8, topology: str = "full") -> Path:
    """Write a tiny checkpoint.

    Args:
        name: the architecture, as for :func:`tada.load`.
        folder: where to write it; made if missing.
        seed: of the random weights.
        width: channels per attention head, a multiple of 4; the denoiser's width grows with it.
        topology: ``"full"``, or of AudioLDM2 ``"base"``, which has 32 sites instead of 64.

    Returns:
        The folder, which ``tada.load(name, folder)`` opens.

    Raises:
        KeyError: an unknown architecture or topology. ValueError: an odd or small width.
    """
    sizes = json.loads(SIZES.read_text(encoding="utf-8"))
    check_name("architecture", name, sizes)
    if width < 4 or width % 4:
        raise InputError(f"got width={width}; expected a multiple of 4")
    topologies = ("full", "base") if name == "audioldm2" else ("full",)
    check_name(f"topology of {name}", topology, topologies)
    if topology == "base":
        dims = [widths[:3] for widths in sizes[name]["unet"]["cross_attention_dim"]]
        sizes[name]["unet"] |= {"transformer_layers_per_block": 1, "cross_attention_dim": dims}
    folder = Path(folder)
    with torch.random.fork_rng(devices=[]), quiet_loading():
        torch.manual_seed(seed)
        parts = {part: _draw(given, width) for part, given in sizes[name].items()}
        _WRITERS[name](folder, parts)
    label = f"tiny random {name}" + ("" if topology == "full" else f" ({topology})") + f", seed {seed}"
    write_json(folder / "tada.json", {"label": label, "architecture": name})
    return folder


def _draw(given: dict[str, Any], width: int) -> Any:
    """Make a part of its class and sizes, with random weights if it has any."""
    library, _, name = given.pop("class").rpartition(".")
    wide = {size: (np.array(given[size]) * width // 8).tolist() for size in given.pop("wide", ())}
    kind, sizes = getattr(import_module(library), name), given | wide
    configured = getattr(kind, "config_class", None)
    return kind(configured(**sizes)) if configured else kind(**sizes)


def _write_audioldm2(folder: Path, parts: dict[str, Any]) -> None:
    from diffusers import AudioLDM2Pipeline

    words = {"tokenizer": _roberta_tokenizer(), "tokenizer_2": t5_tokenizer(64)}
    AudioLDM2Pipeline(**parts, **words).save_pretrained(folder)
    index = folder / "model_index.json"
    content = json.loads(index.read_text())
    content["language_model"][1] = "GPT2Model"  # as the public repositories do
    write_json(index, content)


def _write_stable_audio(folder: Path, parts: dict[str, Any]) -> None:
    from diffusers import StableAudioPipeline

    StableAudioPipeline(**parts, tokenizer=t5_tokenizer(128)).save_pretrained(folder)


def _write_ace_step(folder: Path, parts: dict[str, Any]) -> None:
    from tada.models.ace_step.files import Parts, write

    parts["vocoder"].head.conv_post.weight_g.data *= 100  # or the sound is at -60 dB, too quiet for tests of it
    write(Parts(**parts, tokenizer=t5_tokenizer(256)), folder)


def _write_musicgen(folder: Path, parts: dict[str, Any]) -> None:
    from transformers import MusicgenForConditionalGeneration

    for layer in parts["audio_encoder"].quantizer.layers:
        layer.codebook.embed.normal_(std=8)  # or the sound is too quiet for tests of it
    network = MusicgenForConditionalGeneration(**parts)
    network.generation_config.update(**dict.fromkeys(("decoder_start_token_id", "pad_token_id"), 64))
    network.save_pretrained(folder)
    t5_tokenizer(128).save_pretrained(folder)


_WRITERS = {
    "audioldm2": _write_audioldm2,
    "stable-audio": _write_stable_audio,
    "ace-step": _write_ace_step,
    "musicgen": _write_musicgen,
}


def t5_tokenizer(longest: int) -> Any:
    """A character tokenizer of T5's kind: ``</s>`` at the end, padded with 0."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import T5TokenizerFast

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((c, -5.0) for c in CHARACTERS)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return T5TokenizerFast(tokenizer_object=tokenizer, extra_ids=0, model_max_length=longest)


def _roberta_tokenizer() -> Any:
    """A byte tokenizer of RoBERTa's kind, padded to 77."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import RobertaTokenizerFast

    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocabulary = {piece: i for i, piece in enumerate([*specials, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return RobertaTokenizerFast(tokenizer_object=tokenizer, model_max_length=77)
