"""What moves sites: ``state``, ``density`` (which sites to split and remove), ``edits``, ``rows``
(what an optimiser remembers of the sites), ``least_squares`` (passes over the picture), ``linear``,
``gauss_newton``, ``adam``, ``updates`` (by any optax transformation), ``steps`` (of a fit),
``colors``, and ``loop`` (any loss of the picture) with ``remember``."""
