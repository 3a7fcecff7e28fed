"""The minis' codecs: linear codes of spectra, written into the three autoencoder classes, and their phase stage.

What latents are is not learnt: they are the principal components of blocks of spectra. Only the phase stage is trained,
to make magnitudes of spectra that a code has been through, by :func:`training.fit.fit`.
"""
