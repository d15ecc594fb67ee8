"""How time and memory grow with pixels and with sites."""
