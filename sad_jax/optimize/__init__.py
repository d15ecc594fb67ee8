"""What moves sites: ``state``, ``density`` (which sites to split and remove) and ``edits``,
``least_squares`` (passes over the picture), ``linear``, ``gauss_newton``, ``adam``, ``steps`` (of a
fit), ``colors``, and ``loop`` (any loss of the picture) with ``remember``."""
