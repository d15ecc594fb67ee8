"""Which K sites a cell sees: ``candidates`` (the lists), ``exact`` (by ``bounds``: ``culling`` in
plain XLA, ``grouping`` for kernels) and ``flooding`` (kept by propagation)."""
