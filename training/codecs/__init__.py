"""Recipes for the minis' codecs: small autoencoders and vocoders in the classes of the three architectures.

Each recipe has two stages. The first settles what the latents are, the second learns to sound; both are trained with
:func:`training.fit.fit`, so that a killed run goes on where its last checkpoint was.
"""
