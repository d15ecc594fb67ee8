"""Codec 1 of the ``.sad`` container: sites rounded to whole numbers, predicted and entropy coded.

``docs/format.md`` is the specification. Whatever decides a whole number is computed in whole
numbers, so a file means the same on every machine. The modules, from the ground up:

``fixed``: logarithms, powers and angles in fixed point; ``curve``: Hilbert's; ``rules``: how a site
is rounded, and what its numbers mean; ``tables``: probabilities; ``rans``: bytes and symbols;
``predict``: what a site's neighbours say; ``order``: levels and groups; ``walk``: the one way
through all numbers, for both directions; ``layout``: the head of the payload; ``codec``: all of it.
"""
