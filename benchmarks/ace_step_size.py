"""ACE-Step at its public size with random weights: seconds and peak memory of one generation, as json.

    python benchmarks/ace_step_size.py [--device cpu] [--steps 2] [--seconds 10] [--hooks]

With ``--hooks`` the sampling is repeated with an edit hook on each of the 24 sites. On a GPU, 30 s of audio in 60
steps is ``--device cuda --seconds 30 --steps 60 --hooks``. It needs about 9 GiB of memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import time

import torch
from torch import nn

import tada
from tada.models.ace_step.adapter import AceStep, AceStepSampling
from tada.models.ace_step.files import Parts
from tada.models.ace_step.transformer import AceStepTransformer
from tada.models.ace_step.vocoder import Vocoder
from tada.models.hub import About
from tada.models.tiny import t5_tokenizer

DCAE = {
    "in_channels": 2,
    "latent_channels": 8,
    "encoder_block_types": ("ResBlock",) * 3 + ("EfficientViTBlock",),
    "decoder_block_types": ("ResBlock",) * 3 + ("EfficientViTBlock",),
    "encoder_block_out_channels": (128, 256, 512, 1024),
    "decoder_block_out_channels": (128, 256, 512, 1024),
    "encoder_layers_per_block": (2, 2, 3, 3),
    "decoder_layers_per_block": (3, 3, 3, 3),
    "encoder_qkv_multiscales": ((), (), (5,), (5,)),
    "decoder_qkv_multiscales": ((), (), (5,), (5,)),
    "upsample_block_type": "interpolate",
    "downsample_block_type": "Conv",
    "decoder_act_fns": "silu",
}
UMT5 = {
    "vocab_size": 256384,
    "d_model": 768,
    "d_kv": 64,
    "d_ff": 2048,
    "num_layers": 12,
    "num_heads": 12,
    "feed_forward_proj": "gated-gelu",
    "tie_word_embeddings": False,
}


def randomised(module: nn.Module, device: torch.device) -> nn.Module:
    """A module built on the meta device, with random bfloat16 weights that keep activations of order one."""
    module = module.to(torch.bfloat16).to_empty(device=device).eval().requires_grad_(False)
    for name, parameter in module.named_parameters():
        if name.endswith("weight_g") or (parameter.dim() == 1 and "bias" not in name):
            parameter.fill_(1.0)
        elif parameter.dim() == 1:
            parameter.zero_()
        else:
            parameter.normal_(std=parameter[0].numel() ** -0.5)
    return module


def build(device: torch.device) -> AceStep:
    """The public model with random weights."""
    from diffusers import AutoencoderDC
    from transformers import UMT5Config, UMT5EncoderModel

    with torch.device("meta"):
        modules = AceStepTransformer(), AutoencoderDC(**DCAE), Vocoder(), UMT5EncoderModel(UMT5Config(**UMT5))
    parts = [randomised(module, device) for module in modules]
    return AceStep(Parts(*parts, t5_tokenizer(256)), device, About("random, public size"))


def timed(report: dict[str, float], name: str, work):
    """The result of ``work()``; its seconds are noted."""
    start = time.perf_counter()
    result = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    report[name] = round(time.perf_counter() - start, 2)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--hooks", action="store_true")
    options = parser.parse_args()
    device, report = torch.device(options.device), {}
    model = timed(report, "build_seconds", lambda: build(device))
    sampling = AceStepSampling(steps=options.steps, guidance=7.0)
    context = timed(report, "encode_seconds", lambda: model.encode("a happy song"))
    noise = model.noise(1, options.seconds)
    if device.type == "cuda":
        model.sample(context, noise, AceStepSampling(steps=2, guidance=7.0))  # warms up
    latents = timed(report, "sample_seconds", lambda: model.sample(context, noise, sampling))
    if options.hooks:
        with tada.edit(model, {"all": lambda hidden, when: hidden + 0.01}):
            timed(report, "edited_sample_seconds", lambda: model.sample(context, noise, sampling))
    clips = timed(report, "decode_seconds", lambda: model.decode(latents))
    peak = torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else None
    report |= {
        "device": str(device),
        "threads": torch.get_num_threads(),
        "steps": options.steps,
        "denoiser_calls": 2 * options.steps,
        "audio_seconds": round(clips[0].samples.shape[-1] / model.sample_rate, 2),
        "peak_memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10),
        "peak_gpu_memory_mib": peak and round(peak),
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
