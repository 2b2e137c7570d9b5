"""Functions on the sphere and in space; densities of neighbours and their invariants."""

from clebsch.fields.neighbour_density import NeighbourDensity
from clebsch.fields.peaks import find_peaks
from clebsch.fields.power_spectrum import PowerSpectrum
from clebsch.fields.signal_figures import draw_signal, plotly_signals, signal_surface
from clebsch.fields.spherical_signal import SphericalSignal

__all__ = [
    "NeighbourDensity",
    "PowerSpectrum",
    "SphericalSignal",
    "draw_signal",
    "find_peaks",
    "plotly_signals",
    "signal_surface",
]
