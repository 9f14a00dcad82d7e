"""Read Chinese number words: 二十三 is 23, 三分之一 is 1/3, 百分之五十 is 50 %."""

import re
from fractions import Fraction

_DIGITS = {digit: value for value, digit in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_SCALES = {"十": 10, "百": 100, "千": 1000}
_LARGE = {"万": 10**4, "亿": 10**8}
_NUMERALS = "零一二三四五六七八九〇两十百千万亿"
_FORMAL = str.maketrans("壹贰叁肆伍陆柒捌玖拾佰仟萬億兩貳參陸", "一二三四五六七八九十百千万亿两二三六")
"""Numerals of cheques, and traditional ones."""
_NUMBER = re.compile(rf"(负?)(?:(百)分之|([{_NUMERALS}]+)分之)?([{_NUMERALS}]+)(?:点([零一二三四五六七八九〇]+))?")


def leading_chinese(text: str) -> tuple[Fraction, str] | None:
    """The number at the beginning of a text, and the rest; None without a number.

    The caller must check the rest: 三角形 (triangle) begins with a numeral, but not with a number.
    """
    match = _NUMBER.match(text.translate(_FORMAL))
    if match is None:
        return None
    value = Fraction(_whole(match[4]))
    if match[5]:
        value += Fraction(int("".join(str(_DIGITS[digit]) for digit in match[5])), 10 ** len(match[5]))
    if match[2] or match[3]:
        under = 100 if match[2] else _whole(match[3])
        if not under:
            return None
        value /= under
    return (-value if match[1] else value), text[match.end() :]


def _whole(numerals: str) -> int:
    """The value of numerals written digit by digit (二〇二〇) or by place value (二千零二十)."""
    if len(numerals) > 1 and all(numeral in _DIGITS for numeral in numerals):
        return int("".join(str(_DIGITS[numeral]) for numeral in numerals))
    total = section = digit = 0
    for numeral in numerals:
        if numeral in _DIGITS:
            digit = _DIGITS[numeral]
        elif numeral in _SCALES:
            section += max(digit, 1) * _SCALES[numeral]
            digit = 0
        else:
            total = (total + section + digit) * _LARGE[numeral]
            section = digit = 0
    return total + section + digit
