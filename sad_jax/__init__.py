"""Soft Anisotropic Diagrams in JAX: explicit, differentiable, compact pictures of sites.

Names are imported at their first use, so that ``import sad_jax`` alone costs next to nothing; which
name comes from where stands in ``__init__.pyi``.
"""

import lazy_loader

from sad_jax.version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
