"""Tiny ACE-Step v1: random weights, all 24 sites, minimal width."""

from __future__ import annotations

from pathlib import Path

from tada.models.ace_step.files import Parts, write
from tada.models.ace_step.transformer import AceStepTransformer, TransformerConfig
from tada.models.ace_step.vocoder import Vocoder, VocoderConfig
from tada.models.tiny import _characters, _t5_tokenizer

LYRICS = {"lyric_hidden_size": 16, "lyric_heads": 2, "lyric_ff_size": 32}
PATCH = {"patch_hidden_size": 32, "patch_norm_groups": 4}
BACKBONE = {"depths": (1, 1, 1, 1), "dims": (8, 8, 8, 8), "num_mels": 8}
HEAD = {"upsample_initial_channel": 128, "resblock_kernel_sizes": (3,), "resblock_dilation_sizes": ((1, 3),)}
CODER = {
    "block_types": ("ResBlock",) * 3 + ("EfficientViTBlock",),
    "block_out_channels": (8, 8, 8, 16),
    "layers_per_block": (1, 1, 1, 1),
    "qkv_multiscales": ((), (), (5,), (5,)),
}
MEL = {"in_channels": 2, "latent_channels": 8, "attention_head_dim": 8, "downsample_block_type": "Conv"}
TEXT = {"d_model": 24, "d_kv": 8, "d_ff": 32, "num_layers": 4, "num_heads": 2, "feed_forward_proj": "gated-gelu"}


def build(folder: Path, width: int, topology: str) -> None:
    """Write a tiny checkpoint with two heads of ``width`` into ``folder``; weights come from the global generator."""
    from diffusers import AutoencoderDC
    from transformers import UMT5Config, UMT5EncoderModel

    sizes = {"inner_dim": 2 * width, "attention_head_dim": width, "num_attention_heads": 2, "speaker_embedding_dim": 8}
    config = TransformerConfig(**sizes, **LYRICS, **PATCH, text_embedding_dim=TEXT["d_model"])  # type: ignore[arg-type]
    sides = {f"{side}_{key}": value for side in ("encoder", "decoder") for key, value in CODER.items()}
    autoencoder = AutoencoderDC(**MEL, **sides, upsample_block_type="interpolate", decoder_act_fns="silu")
    text = UMT5Config(vocab_size=len(_characters()) + 3, tie_word_embeddings=False, use_cache=False, **TEXT)
    vocoder = Vocoder(VocoderConfig(**BACKBONE, **HEAD))  # type: ignore[arg-type]
    vocoder.head.conv_post.weight_g.data *= 100  # or the sound is at -60 dB, and tests of it would pass on silence
    write(Parts(AceStepTransformer(config), autoencoder, vocoder, UMT5EncoderModel(text), _t5_tokenizer(256)), folder)
