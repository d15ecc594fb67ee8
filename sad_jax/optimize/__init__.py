"""What moves sites: ``state``, ``density`` (which sites to split and remove), ``least_squares``
(passes over the picture), ``linear``, ``gauss_newton``, ``adam``, ``steps`` (of a fit) and ``loop``
(any loss of the picture)."""
