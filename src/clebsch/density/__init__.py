"""Electron densities as sums of atom-centred functions: basis, evaluation, metrics, data."""
