"""The minis: synthetic music whose attributes are known, captions for it, and ears that judge it.

``attributes``, ``score``, ``sounds``, ``singing`` and ``render`` make clips; ``captions`` and ``lexicon``
say what is in them; ``listen`` estimates it from the signal; ``probe`` has learnt to hear it; ``fit`` trains.
"""
