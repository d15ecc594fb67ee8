"""From a photograph to a file: ``config``, ``recipe`` with ``fast`` and ``paper``, ``driver`` (the
loop), ``result``, ``checkpoint``, ``clock`` and ``batch``."""
