"""What pages import, imported once in the process that theirs are forked from, and nowhere else.

It is named to ``multiprocessing`` as the module to preload. The package's own modules are named as text, since the book
knows none of them.
"""

import gc
import os
from importlib import import_module

NAMES = (
    "papermill.cli",
    "ipykernel.kernelapp",
    "matplotlib.pyplot",
    "seaborn",
    "scipy.signal",
    "scipy.stats",
    "torchsde",
    "diffusers.models.transformers",
    "diffusers.pipelines.audioldm2.pipeline_audioldm2",
    "diffusers.pipelines.stable_audio.pipeline_stable_audio",
    "transformers.models.musicgen.modeling_musicgen",
    "transformers.models.umt5.modeling_umt5",
    "tada.models.ace_step.adapter",
    "tada.models.audioldm2",
    "tada.models.musicgen",
    "tada.models.stable_audio",
    "tada.experiments.claims",
    "tada.experiments.hypotheses",
    "tada.experiments.leakage",
    "tada.experiments.plants",
    "tada.experiments.residual_stream",
    "tada.experiments.validity",
    "tada.display.slider",
    "tada.display.widgets",
)

for name, value in {"OMP_NUM_THREADS": "1", "MPLBACKEND": "module://matplotlib_inline.backend_inline"}.items():
    os.environ.setdefault(name, value)  # the libraries heed them when they are imported, not when pages begin
for name in NAMES:
    import_module(name)
gc.freeze()  # no fork has to look through what they all share
