"""Small models of the kinds that a page can run, and vectors for them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch

import tada
from tada.display import live
from tada.models.ace_step import files
from tada.models.phase import PhaseConfig, PhaseStage
from tada.steering import Vector

SAMPLING = {"steps": 4, "guidance": 3.0, "interval": 0.8, "method": "cfg", "omega": 0.0}
SAMPLING |= dict.fromkeys(("erg_tag", "erg_lyric", "erg_diffusion"), False)
SECONDS = 1.024
SITES = 4
PROMPT, SOURCE, LAYERS = "a slow song", "a very fast song", [1, 3]


def small_model(folder: Path, with_phase: bool = False) -> tada.Model:
    """A tiny ACE-Step that samples as the mini does, with a vocoder or a phase stage; weights are exact in fp16."""
    tada.tiny.build("ace-step", folder)
    about = json.loads((folder / "tada.json").read_text())
    parts = files.read(folder, torch.float32)
    parts.transformer.transformer_blocks = parts.transformer.transformer_blocks[:SITES]
    parts.transformer.config = replace(parts.transformer.config, num_layers=SITES)
    if with_phase:
        parts = replace(
            parts, autoencoder=autoencoder(), vocoder=PhaseStage(PhaseConfig(width=16, depth=1, block=(8, 4)))
        )
    for network in (parts.transformer, parts.autoencoder, parts.vocoder, parts.text_encoder):
        network.half().float()
    files.write(parts, folder)
    (folder / "tada.json").write_text(json.dumps(about | {"sampling": SAMPLING}))
    return tada.load("ace-step", folder, device="cpu")


def autoencoder():
    from diffusers import AutoencoderDC

    torch.manual_seed(1)
    side = {"block_types": "ResBlock", "layers_per_block": (1,), "qkv_multiscales": ((),)}
    sides = {f"{name}_{key}": value for name in ("encoder", "decoder") for key, value in side.items()}
    widths = {"encoder_block_out_channels": (16,), "decoder_block_out_channels": (32,)}
    plain = {"encoder_out_shortcut": False, "decoder_in_shortcut": False}
    return AutoencoderDC(in_channels=64, latent_channels=8, **widths, **sides, **plain).eval()


def offer(model: tada.Model) -> live.Live:
    """Two random vectors, one with a direction a step and one with one for all."""
    draws = torch.Generator().manual_seed(2)
    width = model.site_width(model.sites[0])
    vectors = {
        name: Vector({site: torch.randn(steps, width, generator=draws) for site in model.sites})
        for name, steps in (("tempo", SAMPLING["steps"]), ("piano", 1))
    }
    return live.Live(vectors, seeds=(0, 5), seconds=SECONDS)
