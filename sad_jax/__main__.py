"""``python -m sad_jax`` is ``sad-jax``."""

import sys

from sad_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
