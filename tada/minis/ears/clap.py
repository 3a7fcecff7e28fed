"""The CLAP-class ear: transformers' ``ClapModel`` at small width, in a folder that the code for public CLAP loads.

The audio branch is HTSAT, four stages of Swin blocks over a spectrogram folded in two; the text branch is RoBERTa.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tada.errors import MissingFileError
from tada.minis.ears import spectra
from tada.minis.ears.ear import Ear


class ClapEar(Ear):
    """A non-fusion ``ClapModel`` with its processor; both can be used as they are."""

    name = "clap"
    frames = spectra.SECONDS * spectra.RATE

    def __init__(self, model: Any, processor: Any) -> None:
        super().__init__()
        self.model, self.processor = model, processor

    def spectrogram(self, audio: Tensor) -> Tensor:
        return spectra.decibels(audio)

    def encode_audio(self, spectrograms: Tensor) -> Tensor:
        heard = self.model.audio_model(input_features=spectrograms[:, None]).pooler_output
        return nn.functional.normalize(self.model.audio_projection(heard), dim=-1)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        words = self.processor.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        words = words.to(self.model.logit_scale_a.device)
        told = self.model.text_model(input_ids=words["input_ids"], attention_mask=words["attention_mask"])
        return nn.functional.normalize(self.model.text_projection(told.pooler_output), dim=-1)


def load(folder: str | Path) -> ClapEar:
    """Load the ear of a folder, in float32; FileNotFoundError where there is none."""
    from transformers import ClapModel, ClapProcessor

    if not (Path(folder) / "model.safetensors").is_file():
        raise MissingFileError(f"no {Path(folder) / 'model.safetensors'}: train it with python -m training clap")
    model = ClapModel.from_pretrained(folder).float()
    return ClapEar(model, ClapProcessor.from_pretrained(folder)).eval().requires_grad_(False)
