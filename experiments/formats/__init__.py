"""Whether files of every format are read right, altered ones refused, and none lost by a kill."""
