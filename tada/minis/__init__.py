"""The minis: synthetic music whose attributes are known, captions for it, and trained judges of it.

``attributes``, ``composition``, ``sounds``, ``singing`` and ``render`` make clips; ``captions`` tells what is in them;
``probe`` and ``ears`` hear it; ``cards`` lists weights.
"""
