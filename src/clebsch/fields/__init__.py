"""Functions on the sphere and in space."""

from clebsch.fields.peaks import find_peaks
from clebsch.fields.signal_figures import draw_signal, plotly_signals, signal_surface
from clebsch.fields.spherical_signal import SphericalSignal

__all__ = ["SphericalSignal", "draw_signal", "find_peaks", "plotly_signals", "signal_surface"]
