"""The untrained ears, and how trained ones are written."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from tada.io import atomic_write
from tada.minis.ears import spectra
from tada.minis.ears.clap import ClapEar
from tada.minis.ears.ear import DIM, Ear
from tada.minis.ears.second import SecondEar, split
from training.ears.texts import corpus

LONGEST = 192
"""Tokens of a text, the rest is cut off."""

WIDTH, DEPTHS, TEXT_WIDTH, PIECES = 24, (1, 1, 2, 2), 96, 1200
"""Channels of the first stage (doubled by each), blocks per stage, width of the text branch, size of its vocabulary."""


def build(name: str, folder: Path) -> Ear:
    """Build an untrained ear; its words are learnt from captions, and kept in the folder if they are byte pairs."""
    return build_clap(folder / "words.json") if name == "clap" else build_second()


def build_clap(tokenizer: Path) -> ClapEar:
    """Build an untrained CLAP-class ear, with the tokenizer of a file; weights from torch's global generator."""
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor

    words = clap_tokenizer(tokenizer)
    model = ClapModel(ClapConfig(**clap_config(len(words))))
    _init_weights(model)
    extractor = ClapFeatureExtractor(
        feature_size=spectra.BANDS,
        sampling_rate=spectra.RATE,
        hop_length=spectra.HOP,
        fft_window_size=spectra.WINDOW,
        max_length_s=spectra.SECONDS,
        frequency_min=spectra.LOW,
        frequency_max=spectra.HIGH,
        truncation="rand_trunc",  # "fusion" makes four channels, which a non-fusion model refuses
        padding="repeat",
    )
    return ClapEar(model, ClapProcessor(extractor, words))


def clap_config(pieces: int) -> dict[str, Any]:
    """Settings of ``ClapConfig``: without dropout, so that a step depends on its number alone."""
    audio = {
        "patch_embeds_hidden_size": WIDTH,
        "hidden_size": 8 * WIDTH,
        "depths": list(DEPTHS),
        "num_hidden_layers": len(DEPTHS),
        "num_attention_heads": [WIDTH // 8, WIDTH // 4, WIDTH // 2, WIDTH // 2],
        "spec_size": 128,
        "window_size": 4,
        "num_mel_bins": spectra.BANDS,
        "mlp_ratio": 2.0,
        "hidden_dropout_prob": 0.0,
        "enable_fusion": False,
    }
    text = {
        "vocab_size": pieces,
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 3 * TEXT_WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": LONGEST + 2,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    return {"audio_config": audio, "text_config": text, "projection_dim": DIM, "logit_scale_init_value": 10.0}


def _init_weights(model: nn.Module) -> None:
    """Initialise weights for a small width: transformers' start is made for a large one, and learns slowly here."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
        elif isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=1 / math.sqrt(module.weight[0].numel()))
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.1)


def clap_tokenizer(path: Path) -> Any:
    """Load a tokenizer of RoBERTa's kind, byte pairs in lower case; learnt from captions where the file is missing."""
    from tokenizers import Tokenizer
    from transformers import RobertaTokenizerFast

    if not path.is_file():
        atomic_write(path, _learn(corpus()).to_str(pretty=True))
    return RobertaTokenizerFast(
        tokenizer_object=Tokenizer.from_file(str(path)), add_prefix_space=True, model_max_length=LONGEST
    )


def _learn(texts: Sequence[str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=PIECES, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save(name: str, ear: Any, folder: Path, scale: Tensor) -> None:
    """Write an ear in fp16; ``scale``: logarithm of what similarities count, as trained."""
    if name == "clap":
        for own in (ear.model.logit_scale_a, ear.model.logit_scale_t):
            own.data.copy_(scale.data)
        save_clap(ear, folder)
    else:
        save_second(ear, folder)


def save_clap(ear: ClapEar, folder: str | Path) -> None:
    """Write model (fp16), feature extractor and tokenizer as transformers does, without pickle."""
    half = type(ear.model)(ear.model.config)
    half.load_state_dict(ear.model.state_dict())
    half.half().save_pretrained(folder, safe_serialization=True)
    ear.processor.feature_extractor.save_pretrained(folder)
    ear.processor.tokenizer.save_pretrained(folder, legacy_format=False)


def build_second() -> SecondEar:
    """Build an untrained second ear that knows the words of the captions; weights from torch's global generator."""
    return SecondEar(sorted({word for text in corpus() for word in split(text)}))


def save_second(ear: SecondEar, folder: str | Path) -> None:
    """Write weights (fp16) and words."""
    content = {"width": ear.width, "blocks": ear.blocks, "words": ear.words}
    atomic_write(Path(folder) / "config.json", json.dumps(content))
    tensors = {name: value.half().contiguous() for name, value in ear.state_dict().items()}
    atomic_write(Path(folder) / "model.safetensors", lambda draft: save_file(tensors, draft))
