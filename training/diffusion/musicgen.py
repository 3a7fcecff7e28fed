"""The MusicGen mini: its parts before training, and how its language model learns the codes of clips."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tada.minis.render import FRAMES
from tada.models import phase
from tada.models.pipeline import quiet_loading
from training.codecs.linear import make_encodec
from training.codecs.recipe import CodecRecipe, Trained
from training.diffusion import words
from training.diffusion.arch import Arch
from training.diffusion.captions import Captions

SAMPLING: Mapping[str, Any] = {"guidance": 3.0, "top_k": 64}
BOOKS, ENTRIES = 8, 512
CODEC = CodecRecipe(block=(128, 2), codes=64, books=(BOOKS, ENTRIES))
LATENTS = (BOOKS, FRAMES // 512)
DECODER: Mapping[str, Any] = {
    "vocab_size": ENTRIES,
    "pad_token_id": ENTRIES,
    "bos_token_id": ENTRIES,
    "num_codebooks": BOOKS,
    "hidden_size": 144,
    "num_hidden_layers": 8,
    "num_attention_heads": 3,
    "ffn_dim": 448,
    "max_position_embeddings": 512,
    "dropout": 0.0,
}


class MusicGen(Arch):
    """What the recipe of the mini needs to know of the architecture."""

    name, text_encoder = "musicgen", "t5"
    sampling, latents, codec = SAMPLING, LATENTS, CODEC

    def assemble(self, folder: Path, text_encoder: nn.Module, codec: Trained) -> None:
        """Write a checkpoint whose language model is untrained."""
        from transformers import MusicgenDecoderConfig, MusicgenForCausalLM, MusicgenForConditionalGeneration

        assert codec.books is not None
        decoder = MusicgenForCausalLM(MusicgenDecoderConfig(**DECODER))
        parts = {"text_encoder": text_encoder, "audio_encoder": make_encodec(codec.code, codec.books)}
        network = MusicgenForConditionalGeneration(**parts, decoder=decoder)
        network.generation_config.update(decoder_start_token_id=ENTRIES, pad_token_id=ENTRIES)
        _save(network, words.tokenizer(), codec.stage, folder)

    def finish(self, model: Any, folder: Path) -> None:
        """Write the trained checkpoint in fp16, but for the maps of its codec, which have to be exact."""
        network = model.network
        for part in (network.decoder, network.text_encoder, network.enc_to_dec_proj, model.codec.quantizer):
            part.half()
        _save(network, model.tokenizer, model.phase, folder)

    @torch.no_grad()
    def conditioning(self, model: Any, given: Captions) -> dict[str, Tensor]:
        """Encode texts as the adapter does, up to the projection, which learns; unconditional rows read nothing."""
        told = {"padding": "max_length", "max_length": words.LONGEST, "truncation": True, "return_tensors": "pt"}
        read = model.tokenizer(given.texts, **told).to(model.device)
        states = model.network.text_encoder(read.input_ids, read.attention_mask).last_hidden_state
        flags = given.conditional.to(model.device)[:, None]
        return {"text": states, "flags": flags, "mask": read.attention_mask.bool() & flags}

    def levels(self, rows: int, draws: torch.Generator) -> Tensor:
        """No levels: zeros."""
        return torch.zeros(rows)

    def predict(
        self, model: Any, x: Tensor, noise: Tensor, level: Tensor, given: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor]:
        """Logits ``[codes, entries]`` of all codes of ``x`` ``[rows, books, frames]``, and the codes ``[codes]``."""
        rows, books, frames = x.shape
        first = torch.full((rows * books, 1), ENTRIES, device=x.device)
        _, tokens = model.network.decoder.build_delay_pattern_mask(first, ENTRIES, frames + books)
        is_free = tokens == -1
        tokens[is_free] = x.long().flatten()
        states = model.network.enc_to_dec_proj(given["text"]) * given["flags"][..., None]
        asked = {"encoder_hidden_states": states, "encoder_attention_mask": given["mask"]}
        logits = model.network.decoder(tokens[:, :-1], **asked, use_cache=False).logits
        return logits[is_free[:, 1:]], tokens[is_free]

    def loss(self, model: Any, x: Tensor, noise: Tensor, level: Tensor, given: Mapping[str, Any]) -> Tensor:
        """Cross-entropy of the codes, in nats."""
        logits, codes = self.predict(model, x, noise, level, given)
        return nn.functional.cross_entropy(logits.float(), codes)

    def learner(self, model: Any) -> nn.Module:
        """What learns: the decoder with its heads, and the projection of the text."""
        return nn.ModuleList([model.network.decoder, model.network.enc_to_dec_proj])

    def blocks(self, model: Any) -> list[nn.Module]:
        """The layers of the decoder."""
        return list(model.denoiser.layers)


def _save(network: Any, tokenizer: Any, stage: phase.PhaseStage, folder: Path) -> None:
    with quiet_loading():
        network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    phase.write(stage, folder)


ARCH = MusicGen()
