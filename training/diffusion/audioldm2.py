"""The AudioLDM2 mini: its pipeline before training, what its denoiser is given, and what it learns to predict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tada.minis.render import FRAMES
from tada.models import phase
from tada.models.pipeline import quiet_loading
from training.codecs.linear import make_kl
from training.codecs.recipe import CodecRecipe, Trained
from training.diffusion import words
from training.diffusion.arch import PipelineArch
from training.diffusion.captions import Captions
from training.ears.models import PIECES, clap_tokenizer

SAMPLING: Mapping[str, Any] = {"steps": 12, "guidance": 5.0}
WIDTH = 64
"""Of both text streams."""
CLAP_TOKENS = 77
"""To which CLAP's text is cut and padded."""
CODEC = CodecRecipe(block=(32, 8), codes=64)
LATENTS = (64, FRAMES // 2048, 4)
DENOISER: Mapping[str, Any] = {
    "sample_size": LATENTS[1],
    "in_channels": LATENTS[0],
    "out_channels": LATENTS[0],
    "block_out_channels": (128, 128, 128),
    "layers_per_block": 1,
    "transformer_layers_per_block": 1,
    "attention_head_dim": 2,
    "norm_num_groups": 16,
    "cross_attention_dim": ((None, WIDTH, WIDTH),) * 3,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
}
VOCODER: Mapping[str, Any] = {
    "upsample_initial_channel": 8,
    "upsample_rates": [2],
    "upsample_kernel_sizes": [4],
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1]],
}
"""The smallest vocoder there is: the class of the pipeline wants one, and the phase stage stands in its place."""
NOISE: Mapping[str, Any] = {
    "beta_start": 0.0015,
    "beta_end": 0.0195,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
}


class AudioLDM2(PipelineArch):
    """What the recipe of the mini needs to know of the architecture."""

    name, text_encoder = "audioldm2", "t5"
    sampling, latents, codec = SAMPLING, LATENTS, CODEC
    bf16 = False  # on CPUs with AMX, torch's strided convolution of narrow maps reads memory that is not its own

    def assemble(self, folder: Path, text_encoder: nn.Module, codec: Trained) -> None:
        """Write a pipeline whose denoiser, language model and CLAP are untrained."""
        from diffusers import AudioLDM2Pipeline, AudioLDM2ProjectionModel, AudioLDM2UNet2DConditionModel, DDIMScheduler
        from transformers import ClapFeatureExtractor, ClapModel, SpeechT5HifiGan, SpeechT5HifiGanConfig

        tokenizer = clap_tokenizer(folder / "words.json")
        tokenizer.model_max_length = CLAP_TOKENS
        with quiet_loading():
            AudioLDM2Pipeline(
                vae=make_kl(codec.code),
                text_encoder=ClapModel(_clap_config()),
                text_encoder_2=text_encoder,
                projection_model=AudioLDM2ProjectionModel(WIDTH, WIDTH, WIDTH),
                language_model=_language_model(),
                tokenizer=tokenizer,
                tokenizer_2=words.tokenizer(),
                feature_extractor=ClapFeatureExtractor(),
                unet=AudioLDM2UNet2DConditionModel(**DENOISER),
                scheduler=DDIMScheduler(**NOISE),
                vocoder=SpeechT5HifiGan(SpeechT5HifiGanConfig(**VOCODER)),
            ).save_pretrained(folder)
        (folder / "words.json").unlink()
        phase.write(codec.stage, folder)

    def language(self, model: Any) -> tuple[nn.Module, Callable[[list[str]], Tensor]]:
        """What learns besides T5: CLAP's text branch, projection and language model; the states are the last one's."""
        pipeline = model.pipeline
        pipeline.language_model.transformer.wpe.weight.requires_grad_(False)
        clap_text = [pipeline.text_encoder.text_model, pipeline.text_encoder.text_projection]
        learns = nn.ModuleList([*clap_text, pipeline.projection_model, pipeline.language_model.transformer])
        return learns, lambda texts: self.states(model, texts)[2]

    def states(self, model: Any, texts: list[str]) -> tuple[Tensor, Tensor, Tensor]:
        """T5 states, their mask, and the language model's states, all of width 64."""
        return model.pipeline.encode_prompt(texts, model.device, 1, False)

    @torch.no_grad()
    def conditioning(self, model: Any, given: Captions) -> dict[str, Tensor]:
        """Encode texts as the adapter does; unconditional rows have the empty prompt."""
        texts = [text if flag else "" for text, flag in zip(given.texts, given.conditional.tolist(), strict=True)]
        t5, mask, gpt2 = self.states(model, texts)
        missing = words.LONGEST - t5.shape[1]
        return {
            "gpt2": gpt2,
            "t5": nn.functional.pad(t5, (0, 0, 0, missing)),
            "mask": nn.functional.pad(mask.bool(), (0, missing)),
        }

    def levels(self, rows: int, draws: torch.Generator) -> Tensor:
        """Timesteps ``[rows]`` to learn at, 0 to 999."""
        return torch.randint(1000, (rows,), generator=draws)

    def predict(
        self, model: Any, x: Tensor, noise: Tensor, level: Tensor, given: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor]:
        """The denoiser's velocity ``[rows, 64, 32, 4]`` and the true one."""
        scheduler = model.pipeline.scheduler
        predicted = model.denoiser(
            scheduler.add_noise(x, noise, level),
            level,
            encoder_hidden_states=given["gpt2"],
            encoder_hidden_states_1=given["t5"],
            encoder_attention_mask_1=given["mask"],
            return_dict=False,
        )[0]
        return predicted, scheduler.get_velocity(x, noise, level)

    def blocks(self, model: Any) -> list[nn.Module]:
        """What is compiled: the whole U-Net."""
        return [model.denoiser]


def _clap_config() -> Any:
    """A small text branch, and the smallest audio branch there is, which nothing uses."""
    from transformers import ClapConfig

    text = {
        "vocab_size": PIECES,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": CLAP_TOKENS + 2,
        "projection_dim": WIDTH,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    audio = {
        "hidden_size": 16,
        "projection_dim": WIDTH,
        "depths": [1, 1],
        "num_attention_heads": [1, 1],
        "num_mel_bins": 64,
        "spec_size": 64,
        "patch_size": 4,
        "patch_stride": [4, 4],
        "window_size": 4,
        "patch_embeds_hidden_size": 8,
        "num_hidden_layers": 2,
    }
    return ClapConfig(text_config=text, audio_config=audio, projection_dim=WIDTH)


def _language_model() -> Any:
    """A GPT-2 without positions: what it says does not depend on padding, and T5's states know their order."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        n_embd=WIDTH,
        n_layer=2,
        n_head=4,
        n_positions=256,
        n_ctx=256,
        vocab_size=8,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    config.max_new_tokens = 8
    model = GPT2LMHeadModel(config)
    nn.init.zeros_(model.transformer.wpe.weight)
    return model


ARCH = AudioLDM2()
