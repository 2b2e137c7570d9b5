"""Do all engines agree on a model's numbers, and do the numbers obey physics?

``verify`` runs the same structures through every way to a model's energies, forces and stress, and
asks the reference for its derivatives, symmetries, smoothness, neighbours and conservation laws.
``Report`` has the outcome as a table, JSON and a page. ``clebsch verify`` is the command.
"""

from clebsch.verify.cases import Case, built_in_cases, given_cases
from clebsch.verify.comparison import Deviation, Prediction, Tolerance
from clebsch.verify.page import write_page
from clebsch.verify.recorded import read_recorded
from clebsch.verify.report import Finding, Report, full_table, sentence, summary_table
from clebsch.verify.run import verify
from clebsch.verify.settings import CHECKS, ENGINES, Settings

__all__ = [
    "CHECKS",
    "ENGINES",
    "Case",
    "Deviation",
    "Finding",
    "Prediction",
    "Report",
    "Settings",
    "Tolerance",
    "built_in_cases",
    "full_table",
    "given_cases",
    "read_recorded",
    "sentence",
    "summary_table",
    "verify",
    "write_page",
]
