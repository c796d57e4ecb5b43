"""One kind of figure a file: what it solves, and how it draws a table of that."""
