"""From a photograph to a file: ``config`` and ``recipe`` (settings), ``task`` (one picture),
``fast`` and ``paper`` (what the recipes drive), ``driver`` (the loop), ``result``, ``checkpoint``,
``clock`` and ``batch``."""
