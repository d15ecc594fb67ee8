"""A page that draws a diagram in a browser: ``embedded`` (its data), ``page`` (the HTML) and the
folder ``page`` (what runs there: JavaScript, the shader, style)."""
