"""From sites and lists to pictures: ``api`` (for users), ``passes`` (what runs where) and ``xla``
(the readable twin of the kernels)."""
