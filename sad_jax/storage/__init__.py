"""Bytes: ``sad`` (the ``.sad`` container), ``official`` (forms of the official programs), ``files``
(by suffix), ``pictures`` and ``atomic`` (files that are written whole or not at all)."""
