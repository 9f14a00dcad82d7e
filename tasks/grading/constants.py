"""Exact real constants: sums of rational multiples of powers of π and of square roots.

`2√2`, `√8`, `4/√2`, `3π/4`, `(1 + √5)/2`, `⌊2.7⌋` and `0.1 + 0.2` each have one canonical value here, so answers of
geometry and arithmetic need no algebra. Such sums are closed under +, - and *, and under division by a single term;
exponents are whole or halves. Not read: logarithms, cube roots that are not whole, division by a sum.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, comb, factorial, floor, isqrt, pi, sqrt

MOST_TERMS = 8
MOST_BITS = 4096
"""Size of the largest number that is computed. Larger powers are not read."""
LARGEST_RADICAND = 10**8
"""Larger radicands are not searched for square factors."""
LARGEST_FACTORIAL = 30
LARGEST_BINOMIAL = 100
HIGHEST_POWER_OF_PI = 64
DEEPEST = 40

_TOKEN = re.compile(
    r"\s*(?:(\d+ \d+/[1-9]\d*(?![\d.])|\d+(?:\.\d+)?|\.\d+)|(π|pi\b)|(√|\\?sqrt)|([-+*/^()\[\]!⌊⌋⌈⌉])|(binom))"
)
Basis = tuple[int, int]
"""The power of π, and the square-free number under the root."""
ONE: Basis = (0, 1)


@dataclass(frozen=True, slots=True)
class Surd:
    """A constant that is not rational: at least one term, in the order of the basis, no coefficient 0."""

    terms: tuple[tuple[Basis, Fraction], ...]

    def __mul__(self, factor: Fraction) -> Surd:
        """The product with a rational number other than 0."""
        return Surd(tuple((basis, value * factor) for basis, value in self.terms))

    def approximately(self) -> Fraction:
        """The value to about 15 digits."""
        return sum((value * Fraction(pi**power * sqrt(root)) for (power, root), value in self.terms), Fraction(0))


Number = Fraction | Surd
_Sum = dict[Basis, Fraction]


_CLOSING = {"(": ")", "⌊": "⌋", "⌈": "⌉"}


class NotConstant(Exception):
    """The text is no such constant, or too large to compute."""


def leading_constant(text: str) -> tuple[Number, str] | None:
    """The constant at the beginning of a text in plain notation, and the rest; None without one.

    ZeroDivisionError for `1/0`.
    """
    parser = _Parser(text)
    try:
        value = parser.sum()
    except NotConstant:
        return None
    return _number(value), text[parser.position :]


def _number(value: _Sum) -> Number:
    if not value:
        return Fraction(0)
    return value[ONE] if list(value) == [ONE] else Surd(tuple(sorted(value.items())))


class _Parser:
    """Recursive descent: sum = product {± product}; product = power {[* /] power}; power = atom [! | ^ atom]."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.depth = 0

    def sum(self) -> _Sum:
        value = self._product()
        while (sign := self._peek()) in ("+", "-"):
            self._take()
            term = self._product()
            value = _add(value, term if sign == "+" else _scaled(term, Fraction(-1)))
        return value

    def _product(self) -> _Sum:
        value = self._power()
        while True:
            following = self._peek()
            if following == "*":
                self._take()
                value = _times(value, self._power())
            elif following == "/":
                self._take()
                value = _times(value, _inverse(self._power()))
            elif following in ("(", "π", "√", "⌊", "⌈"):
                value = _times(value, self._power())
            else:
                return value

    def _power(self) -> _Sum:
        value = self._atom()
        if self._peek() == "!":
            self._take()
            value = _factorial(value)
        if self._peek() == "^":
            self._take()
            value = _raised(value, self._atom())
        return value

    def _atom(self) -> _Sum:
        token = _TOKEN.match(self.text, self.position)
        if token is None:
            raise NotConstant
        self.position = token.end()
        if token[1]:
            number = sum(map(Fraction, token[1].split()), Fraction(0))  # `2 1/3` is a mixed number
            return {ONE: number} if number else {}
        if token[2]:
            return {(1, 1): Fraction(1)}
        if token[3]:
            return self._root()
        if token[4] in ("+", "-"):
            return _scaled(self._power(), Fraction(-1 if token[4] == "-" else 1))
        if token[5]:
            return _binomial(self._atom(), self._atom())
        if token[4] not in _CLOSING:
            raise NotConstant
        return self._bracketed(token[4])

    def _bracketed(self, opening: str) -> _Sum:
        self.depth += 1
        if self.depth > DEEPEST:
            raise NotConstant
        value = self.sum()
        self.depth -= 1
        if self._take() != _CLOSING[opening]:
            raise NotConstant
        return value if opening == "(" else _whole(value, floor if opening == "⌊" else ceil)

    def _root(self) -> _Sum:
        index = Fraction(2)
        if self._peek() == "[":
            self._take()
            index = _rational(self._atom())
            if self._take() != "]":
                raise NotConstant
        if index <= 0:
            raise NotConstant
        return _raised(self._atom(), {ONE: 1 / index})

    def _peek(self) -> str | None:
        token = _TOKEN.match(self.text, self.position)
        return None if token is None else (token[4] or ("√" if token[3] else "π" if token[2] else "1"))

    def _take(self) -> str | None:
        token = _TOKEN.match(self.text, self.position)
        self.position = token.end() if token else self.position
        return token[4] if token else None


def _add(a: _Sum, b: _Sum) -> _Sum:
    total = {basis: a.get(basis, Fraction(0)) + b.get(basis, Fraction(0)) for basis in {**a, **b}}
    return _checked({basis: value for basis, value in total.items() if value})


def _scaled(a: _Sum, factor: Fraction) -> _Sum:
    return {basis: value * factor for basis, value in a.items()}


def _times(a: _Sum, b: _Sum) -> _Sum:
    total: _Sum = {}
    for (power, root), value in a.items():
        for (other_power, other_root), other in b.items():
            outside, under = _square_free(root * other_root)
            total = _add(total, {(power + other_power, under): value * other * outside})
    return total


def _inverse(a: _Sum) -> _Sum:
    if not a:
        raise ZeroDivisionError
    if len(a) > 1:
        raise NotConstant
    (((power, root), value),) = a.items()
    return {(-power, root): 1 / (value * root)}


def _raised(a: _Sum, exponent: _Sum) -> _Sum:
    by = _rational(exponent)
    if by.denominator != 1:
        return _rooted(a, by)
    whole = int(by)
    if not a:
        if whole <= 0:
            raise NotConstant
        return {}
    base = a if whole >= 0 else _inverse(a)
    bits = max(max(v.numerator.bit_length(), v.denominator.bit_length()) for v in base.values())
    if abs(whole) * bits > MOST_BITS or (len(base) > 1 and abs(whole) > 8):
        raise NotConstant
    value: _Sum = {ONE: Fraction(1)}
    if len(base) > 1 or base.keys() - {ONE}:
        if abs(whole) > 64:
            raise NotConstant
        for _ in range(abs(whole)):
            value = _times(value, base)
        return value
    return {ONE: base[ONE] ** abs(whole)}


def _rooted(a: _Sum, by: Fraction) -> _Sum:
    """A rational to a fractional power: any square root, and other roots that are rational. NotConstant otherwise."""
    base = _rational(a)
    if base < 0 or abs(by.numerator) > 16:
        raise NotConstant
    if base == 0:
        return {}
    if by.denominator == 2:
        outside, under = _square_free(base.numerator * base.denominator)
        root: _Sum = {(0, under): Fraction(outside, base.denominator)}
    else:
        root = {
            ONE: Fraction(_whole_root(base.numerator, by.denominator), _whole_root(base.denominator, by.denominator))
        }
    return _raised(root, {ONE: Fraction(by.numerator)})


def _whole_root(number: int, index: int) -> int:
    root = round(number ** (1 / index)) if number < 10**15 and index <= 16 else 0
    if root**index != number:
        raise NotConstant
    return root


def _square_free(number: int) -> tuple[int, int]:
    """(a, b) with number = a² b and b square-free."""
    root = isqrt(number)
    if root * root == number:
        return root, 1
    if number > LARGEST_RADICAND:
        raise NotConstant
    outside, factor = 1, 2
    while factor * factor <= number:
        while number % (factor * factor) == 0:
            number //= factor * factor
            outside *= factor
        factor += 1
    return outside, number


def _factorial(a: _Sum) -> _Sum:
    number = _rational(a)
    if number.denominator != 1 or not 0 <= number <= LARGEST_FACTORIAL:
        raise NotConstant
    return {ONE: Fraction(factorial(int(number)))}


def _binomial(a: _Sum, b: _Sum) -> _Sum:
    n, k = _rational(a), _rational(b)
    if n.denominator != 1 or k.denominator != 1 or not 0 <= k <= n <= LARGEST_BINOMIAL:
        raise NotConstant
    return {ONE: Fraction(comb(int(n), int(k)))}


def _whole(a: _Sum, rounded: Callable[[Fraction], int]) -> _Sum:
    """The floor or ceiling of a rational number."""
    number = rounded(_rational(a))
    return {ONE: Fraction(number)} if number else {}


def _rational(a: _Sum) -> Fraction:
    if a.keys() - {ONE}:
        raise NotConstant
    return a.get(ONE, Fraction(0))


def _checked(a: _Sum) -> _Sum:
    large = any(max(v.numerator.bit_length(), v.denominator.bit_length()) > MOST_BITS for v in a.values())
    if large or len(a) > MOST_TERMS or any(abs(power) > HIGHEST_POWER_OF_PI for power, _ in a):
        raise NotConstant
    return a
