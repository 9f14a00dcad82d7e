r"""Regular expressions for the numbers outside a range, since a JSON schema cannot compare the number in a text.

They match the text of a decimal without sign, exponent or underscore (`0.25`, `.25`, `16`) up to its end. A decimal is
above another if it has more digits before the point, or as many and the first digit that differs is greater.
"""

from __future__ import annotations

from collections.abc import Iterator

END = r"\s*$"


def above(bound: float, or_equal: bool = False) -> str:
    """The pattern of the decimals above `bound`, which is not negative."""
    whole, part = _digits(bound)
    longer = rf"[1-9]\d{{{len(whole)},}}(\.\d*)?"
    further = rf"{whole}\.{part}\d*[1-9]\d*"
    equal = [rf"{whole}\.{part}0*" if part else rf"{whole}(\.0*)?"] if or_equal else []
    return rf"(?=\.?\d)0*({'|'.join([longer, further, *_greater_digit(whole, part), *equal])}){END}"


def below(bound: float, or_equal: bool = False) -> str:
    """The pattern of the decimals below `bound`, which is not negative."""
    return rf"(?!{above(bound, not or_equal)})(\d+\.?\d*|\.\d+){END}"


def _digits(bound: float) -> tuple[str, str]:
    """The digits before and behind the point, without zeros at the ends."""
    whole, _, part = f"{bound:.12f}".partition(".")
    return whole.lstrip("0"), part.rstrip("0")


def _greater_digit(whole: str, part: str) -> Iterator[str]:
    """For each digit of the bound, the decimals whose first digit that differs is there, and greater."""
    for place, digit in enumerate(whole):
        if digit != "9":
            yield rf"{whole[:place]}[{int(digit) + 1}-9]\d{{{len(whole) - place - 1}}}(\.\d*)?"
    for place, digit in enumerate(part):
        if digit != "9":
            yield rf"{whole}\.{part[:place]}[{int(digit) + 1}-9]\d*"
