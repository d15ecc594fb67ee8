"""Whether files of every format and layout are read right."""
