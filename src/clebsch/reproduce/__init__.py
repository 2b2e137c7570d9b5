"""Scientific figures that anyone can get again: ``clebsch reproduce ROW``."""

from clebsch.reproduce.row import Published, Row, load_row, row_names
from clebsch.reproduce.run import reproduce

__all__ = ["Published", "Row", "load_row", "reproduce", "row_names"]
