"""Formulas of alloys: nested groups, decimals, and a composition that varies, all exact."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from ase.data import atomic_numbers

from clebsch.errors import UserError


@dataclass(frozen=True)
class Linear:
    """``constant + slope x`` in whole fractions; what a formula's amounts are.

    >>> Linear(Fraction(1), Fraction(-1)).at(Fraction(1, 4))
    Fraction(3, 4)
    """

    constant: Fraction
    slope: Fraction = Fraction(0)

    def at(self, x: Fraction) -> Fraction:
        """The value at ``x``."""
        return self.constant + self.slope * x

    @property
    def whole(self) -> bool:
        """Whether this is a whole number, whatever ``x`` is."""
        return self.slope == 0 and self.constant.denominator == 1

    def __add__(self, other: Linear) -> Linear:
        return Linear(self.constant + other.constant, self.slope + other.slope)

    def __mul__(self, other: Linear) -> Linear:
        if self.slope and other.slope:
            raise ValueError("x is multiplied by x")
        return Linear(
            self.constant * other.constant,
            self.constant * other.slope + self.slope * other.constant,
        )

    def __truediv__(self, other: Linear) -> Linear:
        if other.slope or not other.constant:
            raise ValueError("only a number other than zero divides")
        return Linear(self.constant / other.constant, self.slope / other.constant)


ZERO, ONE, X = Linear(Fraction(0)), Linear(Fraction(1)), Linear(Fraction(0), Fraction(1))


@dataclass(frozen=True)
class SiteGroup:
    """Sites that are occupied alike.

    Attributes:
        shares: symbol -> its share, one in all; a single one where the sites are not mixed.
        amount: sites per formula unit.
    """

    shares: Mapping[str, Linear]
    amount: Fraction

    @property
    def mixed(self) -> bool:
        """Whether more than one element is named."""
        return len(self.shares) > 1

    def at(self, x: Fraction) -> dict[str, Fraction]:
        """Shares at one composition."""
        return {symbol: share.at(x) for symbol, share in self.shares.items()}


@dataclass(frozen=True)
class AlloyFormula:
    """A formula whose groups of sites may be shared by elements.

    ``Mg3(Bi0.5Sb0.5)2`` has a group of two sites that Bi and Sb share; ``{1-x}`` stands for an
    amount that varies. A bracket whose amounts are whole numbers is a molecule, as in
    ``Ca3(PO4)2``. Amounts outside of brackets that are no whole numbers share their sites, as in
    ``Mg3Bi1.5Sb0.5``.

    Attributes:
        text: as it was written.
        groups: every element or mixture with its sites.
        loose: whether a mixture was written without a bracket.

    >>> formula = AlloyFormula.parse("Mg3(Bi{1-x}Sb{x})2")
    >>> formula.at(Fraction(1, 4))[1]
    {'Bi': Fraction(3, 4), 'Sb': Fraction(1, 4)}
    """

    text: str
    groups: tuple[SiteGroup, ...]
    loose: bool = False

    @classmethod
    def parse(cls, text: str) -> AlloyFormula:
        """Read a formula.

        Raises:
            UserError: no formula, an unknown element, occupancies that do not sum to one.
        """
        terms, loose = _Parser(text).formula()
        return cls(text, tuple(terms), loose)

    @property
    def varies(self) -> bool:
        """Whether there is an x in it."""
        return any(s.slope for group in self.groups for s in group.shares.values())

    @property
    def elements(self) -> tuple[str, ...]:
        """Symbols in the order in which they are written."""
        return tuple(dict.fromkeys(s for group in self.groups for s in group.shares))

    @property
    def sites(self) -> Fraction:
        """Sites per formula unit."""
        return sum((group.amount for group in self.groups), Fraction(0))

    def at(self, x: Fraction) -> list[dict[str, Fraction]]:
        """Shares of every group at ``x``.

        Raises:
            UserError: a share below zero or above one.
        """
        found = [group.at(x) for group in self.groups]
        for shares in found:
            for symbol, share in shares.items():
                if not 0 <= share <= 1:
                    raise UserError(
                        f"{self.text}: the share of {symbol} is {float(share):g} at "
                        f"x = {float(x):g}; shares lie between 0 and 1: choose other points."
                    )
        return found

    def written(self, x: Fraction) -> str:
        """The formula at ``x``, without what has no share.

        >>> AlloyFormula.parse("Mg3(Bi{1-x}Sb{x})2").written(Fraction(1, 4))
        'Mg3(Bi0.75Sb0.25)2'
        """
        return written(
            [(shares, g.amount) for shares, g in zip(self.at(x), self.groups, strict=True)]
        )


def written(groups: list[tuple[dict[str, Fraction], Fraction]]) -> str:
    """Shares and amounts as a formula."""
    text = ""
    for shares, amount in groups:
        present = {symbol: share for symbol, share in shares.items() if share}
        if len(present) == 1:
            text += next(iter(present)) + _number(amount)
        else:
            text += (
                "(" + "".join(s + _number(n) for s, n in present.items()) + ")" + _number(amount)
            )
    return text


def _number(value: Fraction) -> str:
    return "" if value == 1 else f"{float(value):.6g}"


_TOKEN = re.compile(r"\s*([A-Z][a-z]?|\d+\.?\d*|\.\d+|[a-z]|[()\[\]{}+*/-])")
_CLOSING = {"(": ")", "[": "]"}


class _Parser:
    """Recursive descent: formula = term+, term = (symbol | bracket) [amount]."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[str] = []
        place, stripped = 0, text.rstrip()
        while place < len(stripped):
            match = _TOKEN.match(stripped, place)
            if match is None:
                raise self.error(f"{stripped[place:].strip()[:1]!r} cannot be read")
            self.tokens.append(match[1])
            place = match.end()
        self.next = 0

    def error(self, reason: str) -> UserError:
        return UserError(
            f"{self.text!r}: is no formula of an alloy ({reason}); write it like "
            "Mg3(Bi0.5Sb0.5)2 or Mg3(Bi{1-x}Sb{x})2."
        )

    def peek(self) -> str:
        return self.tokens[self.next] if self.next < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self.next += 1
        return token

    def formula(self) -> tuple[list[SiteGroup], bool]:
        """The whole text as groups of sites."""
        terms = self.terms("")
        groups: list[SiteGroup] = []
        loose: dict[str, Linear] = {}
        for shares, amount in terms:
            if len(shares) == 1 and not amount.whole:
                symbol = next(iter(shares))
                loose[symbol] = loose.get(symbol, ZERO) + amount
            elif not amount.whole:
                raise self.error("a bracket of mixed sites is there a fractional number of times")
            elif amount.constant == 0:
                raise self.error("an amount is zero")
            else:
                groups.append(SiteGroup(shares, amount.constant))
        groups = _merged(groups)
        if loose:
            total = sum(loose.values(), ZERO)
            if not total.whole:
                names = ", ".join(loose)
                raise UserError(
                    f"{self.text}: the amounts of {names} sum to {_say(total)}, so that the "
                    "occupancies of their sites do not sum to one; mend the amounts."
                )
            shares = {symbol: amount / total for symbol, amount in loose.items()}
            groups.append(SiteGroup(shares, total.constant))
        return groups, bool(loose)

    def terms(self, end: str) -> list[tuple[dict[str, Linear], Linear]]:
        """Shares and amounts up to the closing bracket ``end``."""
        found: list[tuple[dict[str, Linear], Linear]] = []
        while (token := self.peek()) and token != end:
            self.take()
            if token in _CLOSING:
                inside = self.terms(_CLOSING[token])
                if self.take() != _CLOSING[token]:
                    raise self.error("a bracket is not closed")
                content = self.bracket(inside)
            elif token in atomic_numbers and token != "X":
                content = [({token: ONE}, ONE)]
            elif token[:1].isupper():
                raise UserError(f"{self.text}: {token} is no chemical element; mend the formula.")
            else:
                raise self.error(f"an element is missing before {token!r}")
            amount = self.amount()
            try:
                found += [(shares, n * amount) for shares, n in content]
            except ValueError as error:
                raise self.error(str(error)) from error
        if not found:
            raise self.error("there is nothing in it" if not self.tokens else "empty brackets")
        return found

    def bracket(
        self, inside: list[tuple[dict[str, Linear], Linear]]
    ) -> list[tuple[dict[str, Linear], Linear]]:
        """A molecule as it is, a mixture as one group of sites."""
        if all(amount.whole and amount.constant > 0 for _, amount in inside):
            return inside
        total = sum((amount for _, amount in inside), ZERO)
        if total != ONE:
            names = ", ".join(dict.fromkeys(s for shares, _ in inside for s in shares))
            raise UserError(
                f"{self.text}: the occupancies of {names} sum to {_say(total)}, not to one; "
                "vacancies are not known here: mend the occupancies."
            )
        mixed: dict[str, Linear] = {}
        for shares, amount in inside:
            for symbol, share in shares.items():
                try:
                    mixed[symbol] = mixed.get(symbol, ZERO) + share * amount
                except ValueError as error:
                    raise self.error(str(error)) from error
        return [(mixed, ONE)]

    def amount(self) -> Linear:
        """The number behind a symbol or bracket; one where there is none."""
        token = self.peek()
        if token == "{":
            self.take()
            value = self.sum()
            if self.take() != "}":
                raise self.error("what stands in {} is no expression of x")
            return value
        if token[:1].isdigit() or token[:1] == ".":
            return Linear(Fraction(self.take()))
        return ONE

    def sum(self) -> Linear:
        """Terms with + and -."""
        value, sign = ZERO, ONE
        if self.peek() in ("+", "-"):
            sign = Linear(Fraction(-1 if self.take() == "-" else 1))
        value = self.product() * sign
        while self.peek() in ("+", "-"):
            sign = Linear(Fraction(-1 if self.take() == "-" else 1))
            value = value + self.product() * sign
        return value

    def product(self) -> Linear:
        """Factors with * and /, or side by side."""
        value = self.factor()
        while (token := self.peek()) and token not in "+-)}":
            if token in ("*", "/"):
                self.take()
            try:
                value = value / self.factor() if token == "/" else value * self.factor()
            except ValueError as error:
                raise self.error(str(error)) from error
        return value

    def factor(self) -> Linear:
        token = self.take()
        if token == "x":
            return X
        if token[:1].isdigit() or token[:1] == ".":
            return Linear(Fraction(token))
        if token == "(":
            value = self.sum()
            if self.take() == ")":
                return value
        raise self.error("what stands in {} is no expression of x")


def _merged(groups: list[SiteGroup]) -> list[SiteGroup]:
    """One group for an element that is written several times, as in CH3CH2OH."""
    found: dict[object, SiteGroup] = {}
    for number, group in enumerate(groups):
        key = number if group.mixed else next(iter(group.shares))
        amount = group.amount + (found[key].amount if key in found else 0)
        found[key] = SiteGroup(group.shares, amount)
    return list(found.values())


def _say(total: Linear) -> str:
    if total.slope == 0:
        return f"{float(total.constant):g}"
    return f"{float(total.constant):g} {float(total.slope):+g} x"
