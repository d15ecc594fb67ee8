"""Which K sites a cell sees: ``candidates`` (the lists), ``exact`` (by ``bounds``: ``culling`` in
plain XLA, ``grouping`` for kernels), ``view`` (away from the pixels' centres), and ``flooding``
(kept by propagation)."""
