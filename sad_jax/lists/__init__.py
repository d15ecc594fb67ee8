"""Which K sites a cell sees: ``candidates`` (the lists), ``exact`` (found by culling) and
``flooding`` (kept by propagation)."""
