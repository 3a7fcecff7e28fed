"""Tiny checkpoints: random weights in the real classes, with the sites of the public models at minimal width.

They are saved in the hub's own folder layout, so that what loads them is what loads the public checkpoints. Their
sound is noise; they are for tests, for trying code, and for looking at the topology.
"""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tada.errors import InputError, UnknownNameError, unknown
from tada.io import write_json
from tada.models.pipeline import quiet_loading

CHARACTERS = ["▁", *string.ascii_letters, *string.digits, *string.punctuation]
"""Vocabulary of the text encoders, beside three special tokens."""


def build(name: str, folder: str | Path, seed: int = 0, width: int = 8, topology: str | None = None) -> Path:
    """Write a tiny checkpoint.

    Args:
        name: the architecture, as for :func:`tada.load`.
        folder: where to write it; made if missing.
        seed: of the random weights.
        width: channels per attention head, an even number; the denoiser's width grows with it.
        topology: AudioLDM2 only: ``"large"`` (64 sites, the default) or ``"base"`` (32).

    Returns:
        The folder, which ``tada.load(name, folder)`` opens.

    Raises:
        KeyError: an unknown architecture or topology. ValueError: an odd or small width.
    """
    if name not in _BUILDERS:
        raise UnknownNameError(unknown("architecture", name, _BUILDERS))
    if width < 4 or width % 4:
        raise InputError(f"got width={width}; expected a multiple of 4")
    builder, topologies = _BUILDERS[name]
    topology = topology or topologies[0]
    if topology not in topologies:
        raise UnknownNameError(unknown(f"topology of {name}", topology, topologies))
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]), quiet_loading():
        torch.manual_seed(seed)
        builder(folder, width, topology)
    label = f"tiny random {name}" + ("" if topology == topologies[0] else f" ({topology})") + f", seed {seed}"
    write_json(folder / "tada.json", {"label": label, "architecture": name})
    return folder


def _audioldm2(folder: Path, width: int, topology: str) -> None:
    import diffusers
    import transformers

    gpt2_width, t5_width, clap_width = 24, 32, 16
    dims = (None, gpt2_width, t5_width, None) if topology == "large" else (None, gpt2_width, t5_width)
    unet = diffusers.AudioLDM2UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(width, 2 * width, 3 * width, 5 * width),
        layers_per_block=2,
        transformer_layers_per_block=2 if topology == "large" else 1,
        attention_head_dim=2,
        norm_num_groups=4,
        cross_attention_dim=(dims,) * 4,
        down_block_types=("DownBlock2D",) + ("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3 + ("UpBlock2D",),
    )
    vae = diffusers.AutoencoderKL(
        in_channels=1,
        out_channels=1,
        latent_channels=4,
        block_out_channels=(8, 8, 8),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
    )
    clap = transformers.ClapModel(_clap_config(clap_width))
    vocoder = transformers.SpeechT5HifiGan(
        transformers.SpeechT5HifiGanConfig(
            model_in_dim=32,
            upsample_initial_channel=32,
            upsample_rates=[5, 4, 2, 2, 2],
            upsample_kernel_sizes=[16, 16, 8, 4, 4],
            resblock_kernel_sizes=[3],
            resblock_dilation_sizes=[[1, 3]],
            normalize_before=False,
            initializer_range=0.2,  # with the default the sound is at -200 dB
        )
    )
    gpt2 = transformers.GPT2Config(n_embd=gpt2_width, n_layer=2, n_head=2, n_positions=256, n_ctx=256, vocab_size=99)
    gpt2.max_new_tokens = 8
    pipeline = diffusers.AudioLDM2Pipeline(
        vae=vae,
        text_encoder=clap,
        text_encoder_2=_t5(t5_width),
        projection_model=diffusers.AudioLDM2ProjectionModel(clap_width, t5_width, gpt2_width),
        language_model=transformers.GPT2LMHeadModel(gpt2),
        tokenizer=_roberta_tokenizer(),
        tokenizer_2=t5_tokenizer(64),
        feature_extractor=transformers.ClapFeatureExtractor(),
        unet=unet,
        scheduler=diffusers.DDIMScheduler(
            beta_start=0.0015,
            beta_end=0.0195,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        ),
        vocoder=vocoder,
    )
    pipeline.save_pretrained(folder)
    _name_class(folder, "language_model", "GPT2Model")  # as the public repositories do


def _stable_audio(folder: Path, width: int, topology: str) -> None:
    import diffusers

    text_width, latents = 24, 4
    transformer = diffusers.StableAudioDiTModel(
        sample_size=32,
        in_channels=latents,
        out_channels=latents,
        num_layers=24,
        attention_head_dim=width,
        num_attention_heads=2,
        num_key_value_attention_heads=1,
        cross_attention_dim=width,
        cross_attention_input_dim=text_width,
        global_states_input_dim=2 * text_width,
        time_proj_dim=8,
    )
    vae = diffusers.AutoencoderOobleck(
        encoder_hidden_size=4, decoder_channels=4, decoder_input_channels=latents, channel_multiples=[1, 1, 2, 2, 4]
    )
    pipeline = diffusers.StableAudioPipeline(
        vae=vae,
        text_encoder=_t5(text_width),
        projection_model=diffusers.StableAudioProjectionModel(
            text_encoder_dim=text_width, conditioning_dim=text_width, min_value=0, max_value=512
        ),
        tokenizer=t5_tokenizer(128),
        transformer=transformer,
        scheduler=diffusers.CosineDPMSolverMultistepScheduler(),
    )
    pipeline.save_pretrained(folder)


def _ace_step(folder: Path, width: int, topology: str) -> None:
    from diffusers import AutoencoderDC
    from transformers import UMT5Config, UMT5EncoderModel

    from tada.models.ace_step.files import Parts, write
    from tada.models.ace_step.transformer import AceStepTransformer, TransformerConfig
    from tada.models.ace_step.vocoder import Vocoder, VocoderConfig

    heads = {"inner_dim": 2 * width, "attention_head_dim": width, "num_attention_heads": 2}
    lyrics = {"lyric_hidden_size": 16, "lyric_heads": 2, "lyric_ff_size": 32, "speaker_embedding_dim": 8}
    patch = {"patch_hidden_size": 32, "patch_norm_groups": 4, "text_embedding_dim": 24}
    backbone: dict[str, Any] = {"depths": (1, 1, 1, 1), "dims": (8, 8, 8, 8), "num_mels": 8}
    head: dict[str, Any] = {
        "upsample_initial_channel": 128,
        "resblock_kernel_sizes": (3,),
        "resblock_dilation_sizes": ((1, 3),),
    }
    coder = {
        "block_types": ("ResBlock",) * 3 + ("EfficientViTBlock",),
        "block_out_channels": (8, 8, 8, 16),
        "layers_per_block": (1, 1, 1, 1),
        "qkv_multiscales": ((), (), (5,), (5,)),
    }
    sides = {f"{side}_{key}": value for side in ("encoder", "decoder") for key, value in coder.items()}
    mel = {"in_channels": 2, "latent_channels": 8, "attention_head_dim": 8, "downsample_block_type": "Conv"}
    autoencoder = AutoencoderDC(**mel, **sides, upsample_block_type="interpolate", decoder_act_fns="silu")
    text = {"d_model": 24, "d_kv": 8, "d_ff": 32, "num_layers": 4, "num_heads": 2, "feed_forward_proj": "gated-gelu"}
    umt5 = UMT5Config(vocab_size=len(CHARACTERS) + 3, tie_word_embeddings=False, use_cache=False, **text)
    vocoder = Vocoder(VocoderConfig(**backbone, **head))
    vocoder.head.conv_post.weight_g.data *= 100  # or the sound is at -60 dB, and tests of it would pass on silence
    transformer = AceStepTransformer(TransformerConfig(**heads, **lyrics, **patch))  # type: ignore[arg-type]
    write(Parts(transformer, autoencoder, vocoder, UMT5EncoderModel(umt5), t5_tokenizer(256)), folder)


_BUILDERS: dict[str, tuple[Callable[[Path, int, str], None], tuple[str, ...]]] = {
    "audioldm2": (_audioldm2, ("large", "base")),
    "stable-audio": (_stable_audio, ("full",)),
    "ace-step": (_ace_step, ("full",)),
}


def _t5(width: int) -> Any:
    from transformers import T5Config, T5EncoderModel

    config = T5Config(vocab_size=len(CHARACTERS) + 3, d_model=width, d_kv=8, d_ff=2 * width, num_layers=2, num_heads=2)
    return T5EncoderModel(config)


def _clap_config(width: int) -> Any:
    from transformers import ClapConfig

    text = {
        "vocab_size": 261,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 82,
        "projection_dim": width,
    }
    audio = {
        "hidden_size": 32,
        "projection_dim": width,
        "depths": [1, 1],
        "num_attention_heads": [2, 2],
        "spec_size": 64,
        "window_size": 4,
        "patch_embeds_hidden_size": 16,
    }
    return ClapConfig(text_config=text, audio_config=audio, projection_dim=width)


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


def _name_class(folder: Path, component: str, name: str) -> None:
    index = folder / "model_index.json"
    content = json.loads(index.read_text())
    content[component][1] = name
    write_json(index, content)
