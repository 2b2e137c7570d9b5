"""The file that i-PI asks for: a potential of clebsch."""

from clebsch.simulate.ipi_driver import *  # noqa: F403
