"""Tiny ACE-Step v1: random weights, all 24 sites, minimal width."""

from __future__ import annotations

from pathlib import Path

from tada.models.ace_step.files import Parts, write
from tada.models.ace_step.transformer import AceStepTransformer, TransformerConfig
from tada.models.ace_step.vocoder import Vocoder, VocoderConfig
from tada.tiny import _characters, _t5_tokenizer

TEXT_WIDTH = 24


def transformer_config(width: int) -> TransformerConfig:
    """The public topology with two heads of ``width``."""
    return TransformerConfig(
        inner_dim=2 * width, attention_head_dim=width, num_attention_heads=2, text_embedding_dim=TEXT_WIDTH,
        speaker_embedding_dim=8, lyric_hidden_size=16, lyric_heads=2, lyric_ff_size=32, patch_hidden_size=32,
        patch_norm_groups=4)


VOCODER = VocoderConfig(depths=(1, 1, 1, 1), dims=(8, 8, 8, 8), num_mels=8, upsample_initial_channel=128,
                        resblock_kernel_sizes=(3,), resblock_dilation_sizes=((1, 3),))


def build(folder: Path, width: int, topology: str) -> None:
    """Write a tiny checkpoint into ``folder``; weights come from the global generator."""
    from diffusers import AutoencoderDC
    from transformers import UMT5Config, UMT5EncoderModel

    blocks, channels = ("ResBlock",) * 3 + ("EfficientViTBlock",), (8, 8, 8, 16)
    autoencoder = AutoencoderDC(
        in_channels=2, latent_channels=8, attention_head_dim=8, encoder_block_types=blocks,
        decoder_block_types=blocks, encoder_block_out_channels=channels, decoder_block_out_channels=channels,
        encoder_layers_per_block=(1,) * 4, decoder_layers_per_block=(1,) * 4,
        encoder_qkv_multiscales=((), (), (5,), (5,)), decoder_qkv_multiscales=((), (), (5,), (5,)),
        upsample_block_type="interpolate", downsample_block_type="Conv", decoder_norm_types="rms_norm",
        decoder_act_fns="silu", scaling_factor=0.41407)
    text = UMT5EncoderModel(UMT5Config(
        vocab_size=len(_characters()) + 3, d_model=TEXT_WIDTH, d_kv=8, d_ff=32, num_layers=4, num_heads=2,
        feed_forward_proj="gated-gelu", tie_word_embeddings=False, use_cache=False))
    transformer = AceStepTransformer(transformer_config(width))
    write(Parts(transformer, autoencoder, Vocoder(VOCODER), text, _t5_tokenizer(256)), folder)
