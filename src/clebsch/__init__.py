"""Symmetry-aware neural networks for materials science."""

__version__ = "0.1.0"
