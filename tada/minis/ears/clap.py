"""The CLAP-class ear: transformers' ``ClapModel`` at small width, in a folder that the code for public CLAP loads.

The audio branch is HTSAT, four stages of Swin blocks over a spectrogram folded in two; the text branch is RoBERTa.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tada.errors import MissingFileError
from tada.minis.ears import spectra
from tada.minis.ears.ear import DIM, Ear
from training.ears.texts import corpus

LONGEST = 192
"""Tokens of a text, the rest is cut off."""

WIDTH, DEPTHS, TEXT_WIDTH, PIECES = 24, (1, 1, 2, 2), 96, 1200
"""Channels of the first stage (doubled by each), blocks per stage, width of the text branch, size of its vocabulary."""


class ClapEar(Ear):
    """A non-fusion ``ClapModel`` with its processor; both can be used as they are."""

    name = "clap"
    frames = spectra.SECONDS * spectra.RATE

    def __init__(self, model: Any, processor: Any) -> None:
        super().__init__()
        self.model, self.processor = model, processor

    def look(self, audio: Tensor) -> Tensor:
        return spectra.decibels(audio)

    def hear(self, spectrograms: Tensor) -> Tensor:
        heard = self.model.audio_model(input_features=spectrograms[:, None]).pooler_output
        return nn.functional.normalize(self.model.audio_projection(heard), dim=-1)

    def read(self, texts: Sequence[str]) -> Tensor:
        words = self.processor.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        words = words.to(self.model.logit_scale_a.device)
        told = self.model.text_model(input_ids=words["input_ids"], attention_mask=words["attention_mask"])
        return nn.functional.normalize(self.model.text_projection(told.pooler_output), dim=-1)

    def stages(self, spectrograms: Tensor) -> tuple[Tensor, ...]:
        """Outputs of the four Swin stages; gradients pass.

        Args:
            spectrograms: ``[rows, 251, 64]``, see :meth:`seen`.

        Returns:
            ``[rows, channels, height, width]`` each: 48 x 16 x 16, 96 x 8 x 8, 192 x 4 x 4 twice.
        """
        output = self.model.audio_model(input_features=spectrograms[:, None], output_hidden_states=True)
        return tuple(output.hidden_states[1:])


def load(folder: str | Path) -> ClapEar:
    """The ear of a folder, ready to listen, in float32.

    Raises:
        FileNotFoundError: no model there.
    """
    from transformers import ClapModel, ClapProcessor

    if not (Path(folder) / "model.safetensors").is_file():
        raise MissingFileError(
            f"no {Path(folder) / 'model.safetensors'}: train it with training.ears.training.train('clap', folder)"
        )
    model = ClapModel.from_pretrained(folder).float()
    return ClapEar(model, ClapProcessor.from_pretrained(folder)).eval().requires_grad_(False)


def save(ear: ClapEar, folder: str | Path) -> None:
    """Write model (fp16), feature extractor and tokenizer as transformers does, without pickle."""
    half = type(ear.model)(ear.model.config)
    half.load_state_dict(ear.model.state_dict())
    half.half().save_pretrained(folder, safe_serialization=True)
    ear.processor.feature_extractor.save_pretrained(folder)
    ear.processor.tokenizer.save_pretrained(folder, legacy_format=False)


def build(tokenizer: str | Path, width: int = WIDTH, text_width: int = TEXT_WIDTH) -> ClapEar:
    """An untrained ear; weights from torch's global generator.

    Args:
        tokenizer: a file, made where it is missing.
        width: channels of the first stage, a multiple of 8.
        text_width: of the text branch, a multiple of 4.
    """
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor

    words = tokenizer_of(Path(tokenizer))
    model = ClapModel(ClapConfig(**config(width, text_width, len(words))))
    _start(model)
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


def config(width: int, text_width: int, pieces: int) -> dict[str, Any]:
    """Settings of ``ClapConfig``; without dropout, so that a step depends on its number alone."""
    audio = {
        "patch_embeds_hidden_size": width,
        "hidden_size": 8 * width,
        "depths": list(DEPTHS),
        "num_hidden_layers": len(DEPTHS),
        "num_attention_heads": [width // 8, width // 4, width // 2, width // 2],
        "spec_size": 128,
        "window_size": 4,
        "num_mel_bins": spectra.BANDS,
        "mlp_ratio": 2.0,
        "hidden_dropout_prob": 0.0,
        "enable_fusion": False,
    }
    text = {
        "vocab_size": pieces,
        "hidden_size": text_width,
        "intermediate_size": 3 * text_width,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": LONGEST + 2,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    return {"audio_config": audio, "text_config": text, "projection_dim": DIM, "logit_scale_init_value": 10.0}


def _start(model: nn.Module) -> None:
    """First weights for a small width: transformers' are made for a large one, and learn slowly here."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
        elif isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=1 / math.sqrt(module.weight[0].numel()))
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.1)


def tokenizer_of(path: Path) -> Any:
    """RoBERTa's kind of tokenizer, byte pairs in lower case, learnt from captions where the file is missing."""
    from tokenizers import Tokenizer
    from transformers import RobertaTokenizerFast

    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        _learn(corpus()).save(str(partial))
        partial.replace(path)
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
