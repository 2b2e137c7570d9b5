"""M[i, k] = sum_j C[i, j, k] y[j] of each path: what couples x to z along one edge."""

from __future__ import annotations

from clebsch.ops.specification import Specification, Term


class Entries:
    """The non-zero entries (i, k) of a path's M and the terms that make them."""

    def __init__(self, y_start: int, terms: tuple[Term, ...], first: int) -> None:
        self.terms = terms
        self.pairs = sorted({(term.i, term.k) for term in terms})
        self.place = {pair: number for number, pair in enumerate(self.pairs)}
        self.rows = sorted({i for i, _ in self.pairs})
        self.columns = sorted({k for _, k in self.pairs})
        self.y_start = y_start
        self.first = first

    def values(self, array: str, factor: str, first: int, y_start: int) -> list[str]:
        """Statements that fill ``array`` from ``first`` on."""
        parts: dict[tuple[int, int], list[str]] = {pair: [] for pair in self.pairs}
        for term in self.terms:
            product = f"T({term.value!r}) * {factor}[{y_start + term.j}]"
            parts[term.i, term.k].append(product)
        return [
            f"{array}[{first + self.place[pair]}] = {' + '.join(products)};"
            for pair, products in parts.items()
        ]


def entries_of(spec: Specification) -> list[Entries]:
    """Those of each path; one object for paths with the same M."""
    known: dict[tuple[int, tuple[Term, ...]], Entries] = {}
    found, offset = [], 0
    for path in spec.paths:
        key = (spec.y.slices()[path.y].start, tuple(spec.terms(path)))
        if key not in known:
            known[key] = Entries(*key, offset)
            offset += len(known[key].pairs)
        found.append(known[key])
    return found


def inline(entries: list[Entries], array: str, factor: str) -> list[str]:
    """Statements that compute the entries of these paths."""
    return [line for e in entries for line in e.values(array, factor, e.first, e.y_start)]


def function(entry: Entries) -> str:
    """A function of its own that computes the M of a path."""
    body = "\n".join("  " + line for line in entry.values("m", "y", 0, entry.y_start))
    name = f"matrix{entry.first}"
    return f"APART void {name}(const T* __restrict y, T* __restrict m) {{\n{body}\n}}\n"


def calls(entries: list[Entries], array: str, factor: str) -> list[str]:
    """Calls of these functions."""
    return [f"matrix{entry.first}({factor}, {array} + {entry.first});" for entry in entries]
