"""From an answer's text to its typed canonical form: the first reader that understands the text decides.

All readers get the text in plain notation (see `notation`). Their order (`_READERS`) goes from specific to general:
plain number or word, no answer, decade, grid, date, quantity, choice letter, yes or no, time of day, ratio, range,
interval, constant, equation; then named value and list; at last expression or words.
"""

import re
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache

from tasks.grading.clocks import read_ratio, read_time
from tasks.grading.dates import read_date
from tasks.grading.forms import (
    AnswerList,
    Brackets,
    Choice,
    Expression,
    Form,
    Named,
    Nothing,
    NumberInterval,
    NumberRange,
    PlainText,
    Quantity,
    Truth,
    collection,
)
from tasks.grading.notation import plain, unified
from tasks.grading.quantities import read_constant, read_number, read_quantity
from tasks.grading.symbolic import LONGEST
from tasks.grading.units import read_unit
from tasks.grading.words import ARTICLES, ELEMENTS, ORDINALS, plain_word

LONGEST_WORDS = 1 << 16
"""Characters of a longer text that are read as words."""
DEEPEST = 4
"""Greatest nesting of lists. Anything nested deeper is text."""

_NOTHING = frozenset({"", "none", "nan", "null", "n/a", "undefined answer", "no answer"})
_TRUTH_WORDS = {
    True: "yes true yeah yep correct 是 对 正确",
    False: "no false nope incorrect 否 不 错 错误 不对 不正确",
}
_TRUTHS = {word: value for value, words in _TRUTH_WORDS.items() for word in words.split()}
_LETTER = re.compile(r"(?:(?i:option|choice)\s+)?[(\[]?([A-Za-j])[)\]]?[.:]?")
"""An option's letter. Small letters beyond j are variables."""
_LETTER_WITH_TEXT = re.compile(
    r"(?:(?i:option|choice)\s+)?(?:\(([A-Ja-j])\)|([A-J])[.):])(?!\s*[-+*/^=<>(|,)])\s*(\S.*)"
    r"|([A-J]) - ((?=.*[^\W\d_]{2})\S.*)"
)
"""An option with its text. Before an operator or a bracket the letter is a factor or a term."""
_TRUTH_WITH_TEXT = re.compile(r"(yes|no|true|false)\s*[,;:.-]\s+(?!(?:yes|no|true|false)\b)[^\W\d_]{2}", re.IGNORECASE)
"""A statement in words after the truth word: `No. 5` is a number, and `True, False` are two answers."""
_OUT_OF = re.compile(r"([\w.]+) out of ([\w.]+)", re.IGNORECASE)
_SPAN = re.compile(
    r"(between\s+|from\s+)?([\d.,]+\s*(?:[^\W\d]+|[%°])?)\s*(?:-|\bto\b|\band\b|~)\s*([\d.,]+\s*\D*)", re.IGNORECASE
)
_MEMBER = re.compile(r"([a-zA-Z])\s*∈\s*")
_INEQUALITY = re.compile(r"(?:([^<>≤≥=]+)(<=?|>=?|≤|≥))?([^<>≤≥=]+)(<=?|>=?|≤|≥)([^<>≤≥=]+)")
_ALL_NUMBERS = re.compile(
    r"(?:the set of )?(?:all|any|every)(?: of)?(?: the)? real(?:s| numbers?)|(?:the )?reals", re.IGNORECASE
)
_SET_BUILDER = re.compile(r"[{⦃]\s*([a-zA-Z])\s*(?:∈\s*\(-∞, ∞\)\s*,?)?\s*[|:]\s*(.+)[}⦄]")
_VARIABLE = re.compile(r"[a-zA-Zα-ω]")
_EXCEPT = re.compile(r"([a-zA-Zα-ω])\s*≠\s*([^<>≤≥=≠]+)")
_BOTH = re.compile(r"\s+(?:and|∧|\\land)\s+")
_MIRRORED = str.maketrans("<>≤≥", "><≥≤")
_INFINITE = re.compile(r"([+-]?)\s*(?:∞|inf(?:inity|ty)?)", re.IGNORECASE)
_NAME = (
    r"∠?\s?[a-zA-Zα-ω](?:_?(?:\w|\d\d))?|∠?\s?[A-Z]{2,3}|[a-zA-Z]'{0,3}\([^()=]{1,12}\)|m\s?∠\s?[A-Z]{1,3}|[A-Z]{2}:[A-Z]{2}"
    r"|\\?(?:sin|cos|tan|log|ln)\s?\(?[a-zA-Zα-ω]\)?|[A-Z]_?\(?triangle [A-Z]{3}\)?|\(d[a-z]\)/\(d[a-z]\)|d[a-z]/d[a-z]"
)
"""What a value is called: `x`, `∠ABC`, `f(2)`, `P(A)`, `f'(x)`, `m∠A`, `AC:CB`, `tan θ`, `dy/dx`, a triangle's area."""
_NAMED_POINT = re.compile(r"\(([a-zα-ω](?:,\s?[a-zα-ω])+)\)\s*=\s*(?=\()")
_NAMED = re.compile(rf"(?:[a-zA-Z]\s*∈\s*)|({_NAME})\s*[=≈]\s*(?=[^=])")
_NAMED_BEHIND = re.compile(rf"([^=]*[^=\s])\s*=\s*({_NAME})")
_LABELLED = re.compile(r"([a-zA-Z][a-zA-Z ]{2,30}[a-zA-Z])\s*[=:]\s*(?=[-+$€£¥\d.√π\\])")
_RESTATED = re.compile(r"([\w.,]+)\s+\(([\w.,]+)\)")
_POINT = re.compile(r"([A-Z]'?)\s?(\(.+\))")
_SEPARATOR = re.compile(r"\s*[,;]\s*(?:and\s+|or\s+)?|\s+(?:and|or|&)\s+", re.IGNORECASE)
_FUNCTION_NAMES = (
    "sqrt frac sin cos tan cot sec csc log ln exp arcsin arccos arctan pi theta alpha beta gamma delta lambda mu sigma "
    "omega phi rho cup cap pm mp infty inf begin end pmatrix bmatrix vmatrix matrix array cases overline vec hat mod "
    "emptyset le ge neq ne to mathbb mathcal setminus partial deg circ angle triangle max min"
)
_FUNCTIONS = frozenset(_FUNCTION_NAMES.split())
_WORD = re.compile(r"[^\W\d_]{2,}")
_OPERATOR = re.compile(r"[\\^*+=√π∞<>≤≥≠/|±∪∩θ]|\d\s*[a-zA-Z(]|\)\s*\(|[a-zA-Z]\(|\w\s*-\s*\w")
_ROW = re.compile(r"\[([^\[\]]+)\]")
_MATRIX = re.compile(r"\[\s*\[[^\[\]]+\](?:\s*,\s*\[[^\[\]]+\])*\s*\]")
_NO_SOLUTION = re.compile(
    r"(?:there (?:is|are) |(?:it )?has )?no solutions?|(?:the )?empty set|∅|⦃\s*⦄|\{\s*\}|无解|空集", re.IGNORECASE
)
_NUMBERED = re.compile(
    r"(?:the\s+)?(?:(quadrant|chapter|act|stage|phase|quarter)\s+(\w+)|(\w+)\s+(quadrant|chapter|act|stage|phase|quarter))",
    re.IGNORECASE,
)
_ROMAN = dict(zip("I II III IV V VI VII VIII IX X XI XII".split(), range(1, 13), strict=True))
_ORDINAL = re.compile(r"\d(?:st|nd|rd|th)\b", re.IGNORECASE)
_POSSESSIVE = re.compile(r"['’]s\b")
_INITIALS = re.compile(r"\b[a-zA-Z](?:\.\s?[a-zA-Z]\b)+\.?")
_LETTER_OF_A_WORD = re.compile(r"\b[A-Z]-(?=[a-z]{2})")
_COMPOUND_ORDINAL = re.compile(r"\b([2-9])0 (\d(?:st|nd|rd|th))\b")
_GRID = re.compile(
    r"\d+\s?(?:x|by)\s?\d+(?: [a-z]{3,})?|\d+\s?\*\s?\d+ (?:matrix|grid|board|table|array|square)", re.IGNORECASE
)
_BY = re.compile(r"\s*(?:x|X|by|\*)\s*(?=\d)")
_DECADE = re.compile(r"(?:the )?((?:1[5-9]|20)\d0)'?s")
_TOKEN = re.compile(
    r"(?<![\w.)])[+-](?=[\d.a-zA-Z∞√π(])|\d+(?:\.\d+)?[^\W_]*|\.\d+|[^\W\d_]+(?:\d+)?(?:[+-](?![\w(]))?|'+(?=[\s(,]|$)(?<=\w')"
    r"|[()\[\]{}⦃⦄]|[^\w\s.,;:!?'\"\-…\\]"
)
"""What carries meaning in a phrase: signs before and after, numbers with their point, words, brackets, symbols."""
_BRACKETED = re.compile(r"[(\[{⦃]([^()\[\]{}⦃⦄]*)[)\]}⦄]")
_TRAILING_ZEROS = re.compile(r"(?<=\d)(\.\d*?)0+(?!\w)")
_GREEK = re.compile("[Α-Ωα-ω]")
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_QUICK = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,12})?|([A-Z])|([a-z]{3,24})")
_NOT_QUICK = frozenset({"noon", "midday", "midnight", "inf", "infinity", "infty", *_NOTHING, *_TRUTHS})
_STATEMENT = re.compile(
    r"^(?:it\s+is|it's|its|they\s+are|they're|there\s+(?:is|are)|this\s+is)\s+(?=\S)", re.IGNORECASE
)


def canonical(text: str) -> Form:
    """The canonical form of an answer. A text of more than 256 characters is compared by its words only."""
    if len(text) <= LONGEST:
        return _canonical(text)
    return _read_words(unified(text[:LONGEST_WORDS])) if text.strip() else Nothing()


@lru_cache(maxsize=1 << 15)
def _canonical(text: str) -> Form:
    return read(text if _QUICK.fullmatch(text) else plain(unified(text)), 0)


def read(text: str, depth: int) -> Form:
    """The canonical form of a text in plain notation. `depth`: how many lists the text is nested in."""
    try:
        return next(form for reader in _READERS if (form := reader(text)) is not None)
    except StopIteration:
        pass
    except ZeroDivisionError:
        return Nothing()
    nested = (_read_named(text, depth) or _read_collection(text, depth)) if depth < DEEPEST else None
    return nested or (_read_expression(text) if _looks_symbolic(text) else _read_words(text))


def _read_nothing(text: str) -> Form | None:
    return Nothing() if text.lower() in _NOTHING or not text.strip("?-.$\"'`{} \t\n") else None


def _read_no_solution(text: str) -> Form | None:
    return PlainText("∅") if _NO_SOLUTION.fullmatch(text) else None


def _read_numbered(text: str) -> Form | None:
    """`Quadrant II`, `quadrant 2` and `the second quadrant`: the noun and its number."""
    match = _NUMBERED.fullmatch(text)
    if match is None:
        return None
    behind, ordinal = match[2], (match[3] or "").lower()
    ordinal = ORDINALS.get(ordinal, ordinal)
    number = _ROMAN.get(behind) or read_number(behind) if behind else read_number(ordinal.rstrip("stndrh"))
    return None if number is None else PlainText(f"{(match[1] or match[4]).lower()} {number}")


def _read_choice(text: str) -> Form | None:
    letter = _LETTER.fullmatch(text)
    if letter:
        return Choice(letter[1].upper())
    match = _LETTER_WITH_TEXT.fullmatch(text)
    if match is None:
        return None
    option = read(match[3] or match[5], DEEPEST)
    return Choice((match[1] or match[2] or match[4]).upper(), option)


def _read_truth(text: str) -> Form | None:
    lower = text.lower()
    if lower not in _TRUTHS:
        statement = _TRUTH_WITH_TEXT.match(lower)
        if statement is None:
            return None
        lower = statement[1]
    return Truth(_TRUTHS[lower])


def _read_part(text: str) -> Form | None:
    """`4 out of 5` as 4/5."""
    match = _OUT_OF.fullmatch(text)
    part, whole = (read_number(match[1]), read_number(match[2])) if match else (None, None)
    return Quantity(part / whole, "", part / whole) if part is not None and whole else None


def _read_span(text: str) -> Form | None:
    match = _SPAN.fullmatch(text)
    if match is None or (" and " in text.lower() and not text.lower().startswith("between")):
        return None
    high = read_quantity(match[3])
    low = read_quantity(match[2].strip())
    if low is not None and low.bare and high is not None and not high.bare:
        low = read_quantity(match[2].strip() + " " + match[3].lstrip("0123456789., "))
    return NumberRange(low, high) if low is not None and high is not None else None


def _read_interval(text: str) -> Form | None:
    member = _MEMBER.match(text)
    body = text[member.end() :] if member else text
    if body[:1] in ("(", "[") and body[-1:] in (")", "]") and not _closes_early(body):
        ends = _split_items(body[1:-1], and_too=False)
        mixed = (body[0] == "[") != (body[-1] == "]")
        if len(ends) == 2 and (mixed or member or any(_INFINITE.fullmatch(end) for end in ends)):
            return _interval(ends[0], ends[1], body[0] == "[", body[-1] == "]", member[1] if member else "")
    if _ALL_NUMBERS.fullmatch(text):
        return NumberInterval(None, None, False, False)
    builder = _SET_BUILDER.fullmatch(text)
    return _read_condition(builder[2].strip()) if builder is not None else _read_condition(text)


def _read_condition(text: str) -> Form | None:
    """The numbers that an inequality, two of them, or `x ≠ 2` allows."""
    exception = _EXCEPT.fullmatch(text)
    if exception is not None:
        name, end = exception[1], exception[2].strip()
        return collection((_interval("-∞", end, False, False, name), _interval(end, "∞", False, False, name)), "")
    either = re.split(r"\s+or\s+", text)
    if len(either) > 1:
        parts = [_read_inequality(part) for part in either]
        return collection(tuple(part for part in parts if part is not None), "") if all(parts) else None
    both = [_read_inequality(part) for part in _BOTH.split(text)]
    return both[0] if len(both) == 1 else _overlap(both)


def _overlap(parts: list[NumberInterval | None]) -> NumberInterval | None:
    """Where an interval bounded below and one bounded above overlap; None for any other parts."""
    bounds = [part for part in parts if part is not None and (part.low is None) != (part.high is None)]
    if len(bounds) != 2 or len(parts) != 2 or (bounds[0].low is None) == (bounds[1].low is None):
        return None
    if bounds[0].variable != bounds[1].variable:
        return None
    over, under = bounds if bounds[0].low is not None else bounds[::-1]
    return NumberInterval(over.low, under.high, over.low_closed, under.high_closed, over.variable)


def _read_inequality(text: str) -> NumberInterval | None:
    """`x > 3`, `1 < x ≤ 4`, `4 ≥ x > 1`; None for anything else."""
    match = _INEQUALITY.fullmatch(text)
    if match is None:
        return None
    first, left_sign, middle, right_sign, last = (part.strip() if part else "" for part in match.groups())
    if first:
        if left_sign[0] in ">≥" and right_sign[0] in ">≥":
            first, last = last, first
            left_sign, right_sign = right_sign.translate(_MIRRORED), left_sign.translate(_MIRRORED)
        if not _VARIABLE.fullmatch(middle) or left_sign[0] not in "<≤" or right_sign[0] not in "<≤":
            return None
        return _interval(first, last, left_sign != "<", right_sign != "<", middle)
    if _VARIABLE.fullmatch(last):
        middle, last, right_sign = last, middle, right_sign.translate(_MIRRORED)
    if not _VARIABLE.fullmatch(middle):
        return None
    closed = right_sign not in ("<", ">")
    if right_sign[0] in "<≤":
        return _interval("-∞", last, False, closed, middle)
    return _interval(last, "∞", closed, False, middle)


def _interval(low: str, high: str, low_closed: bool, high_closed: bool, variable: str = "") -> NumberInterval:
    ends = [None if _INFINITE.fullmatch(end) else read(end, DEEPEST) for end in (low, high)]
    closed = (low_closed and ends[0] is not None, high_closed and ends[1] is not None)
    return NumberInterval(ends[0], ends[1], *closed, variable)


def _read_named(text: str, depth: int) -> Form | None:
    """`x = 5`, `5 = x`, `∠ABC = 30°`, `perimeter: 20 cm`, `A(1, 2)`."""
    point = _NAMED_POINT.match(text)
    if point is not None:
        return _named_point(
            [name.strip() for name in point[1].split(",")], read(text[point.end() :].strip(), depth + 1)
        )
    match = _NAMED.match(text)
    if match is not None:
        return _named_value(match[1], text[match.end() :], depth)
    behind = _NAMED_BEHIND.fullmatch(text)
    if behind is not None:
        return _named_value(behind[2], behind[1], depth)
    labelled = _LABELLED.match(text)
    if labelled is not None:
        form = _named_value(labelled[1].lower(), text[labelled.end() :], depth)
        return form if isinstance(form, Named) and isinstance(form.value, Quantity) else None
    restated = _RESTATED.fullmatch(text)
    if restated is not None:
        first = read_quantity(restated[1])
        return first if first is not None and first == read_quantity(restated[2]) else None
    labelled_point = _POINT.fullmatch(text)
    form = _named_value(labelled_point[1], labelled_point[2], depth) if labelled_point is not None else None
    return form if isinstance(form, Named) and isinstance(form.value, AnswerList) else None


def _named_point(names: list[str], values: Form) -> Form | None:
    """`(x, y) = (1, 2)` as `x = 1, y = 2`."""
    if not isinstance(values, AnswerList) or len(values.written) != len(names):
        return None
    return collection(tuple(Named(name, value) for name, value in zip(names, values.written, strict=True)), "")


def _named_value(name: str | None, rest: str, depth: int) -> Form | None:
    """The value read from `rest` with its name; None if `rest` is empty or an equation."""
    if "=" in rest or not rest.strip():
        return None
    value = read(rest.strip(), depth + 1)
    return value if name is None or isinstance(value, Named) else Named(re.sub(r"[_\s\\]|\([a-z]\)$", "", name), value)


def _read_chain(text: str) -> Form | None:
    """`2 + 3 = 5` is 5; an equation that contradicts itself is words."""
    if "=" not in text or _WORD.search(text) is not None:
        return None
    sides = [read_constant(side.strip()) for side in text.split("=")]
    if not all(sides):
        return None
    return sides[0] if len(set(sides)) == 1 else _read_words(text)


def _read_union(text: str) -> Form | None:
    if "∪" not in text:
        return None
    parts = [_read_interval(part.strip()) for part in text.split("∪")]
    return collection(tuple(part for part in parts if part is not None), "") if all(parts) else None


def _read_infinite(text: str) -> Form | None:
    match = _INFINITE.fullmatch(text)
    return PlainText(match[1].replace("+", "") + "∞") if match is not None else None


def _read_expression(text: str) -> Form:
    """An expression, without the unit of measure (of at least two letters) that follows it."""
    body, _, last = text.rpartition(" ")
    unit = read_unit(last) if len(last) > 1 and body and last[0].isalpha() else None
    relation = any(sign in text for sign in "=<>≤≥≠")
    return Expression(text.replace(" ", ""), relation, unit[1] if unit else "")


def _read_collection(text: str, depth: int) -> Form | None:
    """Several items; None if the text is none. A single item in brackets is the item itself, except in {} in a list."""
    if _MATRIX.fullmatch(text):
        rows = [[read(cell.strip(), depth + 2) for cell in row.split(",")] for row in _ROW.findall(text[1:-1])]
        return collection(tuple(collection(tuple(row), "[]") for row in rows), "[]")
    body, brackets = _without_brackets(text)
    parts = _split_items(body, and_too=not brackets)
    if len(parts) < 2:
        if brackets == "{}" and depth and body:
            return AnswerList((read(body, depth + 1),), "{}")
        return read(body, depth + 1) if brackets and body and _OPERATOR.search(body) is None else None
    items = tuple(read(part, depth + 1) for part in parts)
    if not brackets and _looks_symbolic(text) and any(isinstance(item, PlainText) for item in items):
        return None
    return collection(items, brackets)


def _without_brackets(text: str) -> tuple[str, Brackets]:
    """The text inside the brackets that enclose all of it, and these brackets."""
    pairs: dict[str, Brackets] = {"()": "()", "[]": "[]", "{}": "{}", "⦃⦄": "{}"}
    brackets = pairs.get(text[:1] + text[-1:]) if len(text) > 1 else None
    if brackets is None or _closes_early(text):
        return text, ""
    return text[1:-1].strip(), brackets


def _closes_early(text: str) -> bool:
    """Whether the first bracket closes before the end of the text, or brackets are unbalanced."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character in "([{⦃") - (character in ")]}⦄")
        if depth <= 0 and position < len(text) - 1:
            return True
    return depth != 0


def _split_items(body: str, and_too: bool) -> list[str]:
    """The text split at separators outside of brackets; [] if a part is empty.

    `and_too`: words such as `and` separate.
    """
    depths, depth = [], 0
    for character in body:
        depth += (character in "([{⦃") - (character in ")]}⦄")
        depths.append(depth)
    parts, start = [], 0
    for match in _SEPARATOR.finditer(body):
        if depths[match.start()] == 0 and (and_too or match[0].strip()[0] in ",;"):
            parts.append(body[start : match.start()].strip())
            start = match.end()
    parts.append(body[start:].strip())
    return parts if all(parts) else []


def _looks_symbolic(text: str) -> bool:
    """Whether the text has signs of algebra, and no words except names of functions."""
    if _OPERATOR.search(text) is None or _ORDINAL.search(text) is not None:
        return False
    return all(len(word) < 3 or word.lower() in _FUNCTIONS for word in _WORD.findall(text))


def _read_words(text: str) -> Form:
    """The text's words, normalized: lower case, singular, one spelling, without articles and punctuation.

    What carries meaning stays: signs, decimal points, digits, primes, brackets around anything but words, and the case
    of a letter that stands alone. A text with a LaTeX command that no reader knows is compared exactly.
    """
    if _COMMAND.search(text) is not None:
        return PlainText(re.sub(r"\s+", "", text))
    plainer = _STATEMENT.sub("", _POSSESSIVE.sub("", _BRACKETED.sub(_without_prose_brackets, text)))
    plainer = _LETTER_OF_A_WORD.sub(lambda letter: letter[0].lower(), plainer)
    plainer = _INITIALS.sub(lambda initials: re.sub(r"[.\s]", "", initials[0]) + " ", plainer)
    tokens = _TOKEN.findall(plainer)
    kept = [_plain_token(token, first) for first, token in zip([True] + [False] * len(tokens), tokens, strict=False)]
    words = " ".join([word for word in kept if word not in ARTICLES] or [token.casefold() for token in tokens])
    if words:
        return PlainText(_COMPOUND_ORDINAL.sub(r"\1\2", words))
    return PlainText(text.casefold()) if text.strip("{}[]()\"'$\\ .,;:!?-_…") else Nothing()


def _without_prose_brackets(match: re.Match[str]) -> str:
    """Brackets around words alone are dropped; around digits or symbols they say what is meant."""
    is_prose = len(match[1]) > 1 and not re.search(r"[\d∞]", match[1]) and re.search(r"[^\W\d_]{2}", match[1])
    return f" {match[1]} " if is_prose else match[0]


def _plain_token(token: str, first: bool) -> str:
    """The comparison form of a token: an element and a letter alone keep their case, except an article at the start."""
    if len(token) == 1 and token.isascii() and token.isalpha() and not (first and token == "A"):
        return token
    if token in ELEMENTS or _GREEK.search(token):
        return token
    if not first and len(token) > 1 and token in _ROMAN:
        return str(_ROMAN[token])
    if token[0].isdigit() and "." in token:
        return _TRAILING_ZEROS.sub(r"\1", token).rstrip(".")
    return plain_word(token.casefold())


def _read_quick(text: str) -> Form | None:
    """A plain number, letter or lower-case word. These most frequent answers skip the other readers."""
    match = _QUICK.fullmatch(text)
    if match is None or text in _NOT_QUICK:
        return None
    if match[1]:
        return Choice(text)
    if match[2]:
        return None if read_number(text) is not None else PlainText(plain_word(text))
    value = Fraction(text)
    return Quantity(value, "", value)


def _read_decade(text: str) -> Form | None:
    match = _DECADE.fullmatch(text)
    return PlainText(f"{match[1]}s") if match is not None else None


def _read_grid(text: str) -> Form | None:
    """`3x3`, `3 by 4 matrix`: two numbers, not their product."""
    return _read_words(_BY.sub(" by ", text)) if _GRID.fullmatch(text) else None


_READERS: tuple[Callable[[str], Form | None], ...] = (
    _read_quick,
    _read_nothing,
    _read_decade,
    _read_grid,
    read_date,
    _read_no_solution,
    _read_part,
    _read_numbered,
    read_quantity,
    _read_choice,
    _read_truth,
    read_time,
    read_ratio,
    _read_span,
    _read_union,
    _read_interval,
    _read_infinite,
    read_constant,
    _read_chain,
)
