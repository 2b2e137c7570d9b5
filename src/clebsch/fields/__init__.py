"""Functions on the sphere and in space."""
