"""The minis: synthetic music whose attributes are known, captions for it, and what judges it.

``attributes``, ``composition``, ``sounds``, ``singing`` and ``render`` make clips; ``captions`` and ``lexicon`` tell
what is in them; ``listen`` estimates it from the signal; ``probe`` and ``ears`` are trained; ``cards`` lists weights.
"""
