"""One notation for an answer's text: plain signs for the readers, or LaTeX for the algebra."""

import re
import unicodedata
from collections.abc import Callable

WRAPPINGS = 4
"""Greatest number of nested wrappers that are removed."""

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_SUPERSCRIPT_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+")
_SUBSCRIPT_RUN = re.compile("[₀-₉]+")
_VULGAR = re.compile(r"(?<=\d)\s*(?=[¼½¾⅐-⅞])")
_CHARACTERS = str.maketrans({
    "−": "-", "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "×": "*", "✕": "*", "·": "*", "⋅": "*", "∙": "*",
    "÷": "/", "⁄": "/", "∕": "/", "’": "'", "‘": "'", "`": "'", "“": '"', "”": '"', "º": "°", "˚": "°", "…": "...",
    "，": ",", "。": ".", "：": ":", "；": ";", "（": "(", "）": ")", "µ": "μ", "Ω": "Ω",
    "٫": ".", "٬": ",", "∛": "√[3]", "∜": "√[4]", "‖": "|",
    "∶": ":", "⩽": "≤", "⩾": "≥", "、": ",", "′": "'", "″": '"', "⟨": "(", "⟩": ")",
})  # fmt: skip
_WRAPPERS = [
    re.compile(r"^\$\$(.+)\$\$$", re.DOTALL),
    re.compile(r"^\$([^$]+)\$$"),
    re.compile(r"^\\\((.+)\\\)$", re.DOTALL),
    re.compile(r"^\\\[(.+)\\\]$", re.DOTALL),
    re.compile(r"^\\boxed\s*\{(.+)\}$", re.DOTALL),
    re.compile(r"^\*\*(?=\S)(.+?)\*\*$", re.DOTALL),
    re.compile(r"^\*(?=\w)([^*]+)\*$"),
    re.compile(r"^_(?=\w)([^_]+)_$"),
    re.compile(r"^`([^`]+)`$"),
    re.compile(r'^"([^"]+)"$'),
    re.compile(r"^'([^']+)'$"),
    re.compile(r"^<answer>(.+)</answer>$", re.DOTALL | re.IGNORECASE),
]
_OPENS_A_WRAPPER = ("$", "\\", "*", "_", "`", '"', "'", "<")
_LEAD = re.compile(
    r"^(?:(?:so|thus|therefore|hence),?\s+)?(?:the\s+)?(?:(?:final|correct|right|best)\s+)?(?:answer|option|choice)"
    r"(?:\s+is\s*:?|\s*[:=])\s*(?=\S)"
    r"|^(?:the|this)\s+statement\s+is\s+(?=\S)|^(?:the\s+)?(?:point\s*(?=\()|ratio\s+(?:of\s+|is\s+)?(?=\d))"
    r"|^(?:正确)?(?:答案|选项)(?:是|为)?\s*:?\s*(?=\S)|^(?:=|≈|\\approx(?![a-zA-Z]))\s*(?=\S)"
    r"|^(?:in\s+)?(?:the\s+)?(?:year\s+)?(?=(?:1\d|20)\d\d$)"
    r"|^(?:approximately|approx\.?|about|around|roughly|nearly|~)\s*(?=[\d$\\-])",
    re.IGNORECASE,
)
_ASIDE = re.compile(r"(?<=\S)\s*\((?:approximately|approx\.?|rounded[^()]*)\)$", re.IGNORECASE)
_TRAILING_SPACE = re.compile(r"(?:\\(?:quad|qquad|[,;:!\s]|\\|$)|\s)+$")
_INVISIBLE = re.compile("[\x00-\x08\x0e-\x1f\x7f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_OTHER_DIGIT = re.compile(r"(?![0-9])\d")
_STOPS = " .;,?\n"
_BEFORE_A_FACTORIAL = (*"0123456789", ")")
_GREEK = dict(zip("alpha beta gamma delta theta phi lambda mu sigma omega".split(), "αβγδθφλμσω", strict=True))
_COMMANDS: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (re.compile(r"\{,\}|(?<=\d)\s*\\text\{,\}\s*(?=\d)"), ","),
    (
        re.compile(
            r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mathsf|mbox|operatorname|underline|rm)\s*\{([^{}]*)\}"
        ),
        r" \1 ",
    ),
    (re.compile(r"\\(?:left|right|bigl?|bigr|Bigl?|Bigr|displaystyle|limits)(?![a-zA-Z])"), ""),
    (re.compile(r"\\[dt]binom(?![a-zA-Z])"), r"\\binom"),
    (re.compile(r"\\(?:lvert|lVert)\s*|\s*\\(?:rvert|rVert)(?![a-zA-Z])|\\(?:vert|Vert|mid)(?![a-zA-Z])"), "|"),
    (re.compile(r"\\lfloor(?![a-zA-Z])\s*"), "⌊"),
    (re.compile(r"\s*\\rfloor(?![a-zA-Z])"), "⌋"),
    (re.compile(r"\\lceil(?![a-zA-Z])\s*"), "⌈"),
    (re.compile(r"\s*\\rceil(?![a-zA-Z])"), "⌉"),
    (re.compile(r"\\dot\s*\{?(\d)\}?"), r"\\overline{\1}"),
    (re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![a-zA-Z]))|\\degree(?![a-zA-Z])|\\circ(?![a-zA-Z])"), "°"),
    (re.compile(r"\\(?:quad|qquad|,|;|:|!| |thinspace)|~"), " "),
    (re.compile(r"\\(?:times|cdot|ast)(?![a-zA-Z])"), "*"),
    (re.compile(r"\\div(?![a-zA-Z])"), "/"),
    (re.compile(r"\\leq?(?:slant)?(?![a-zA-Z])"), "≤"),
    (re.compile(r"\\geq?(?:slant)?(?![a-zA-Z])"), "≥"),
    (re.compile(r"\\lt(?![a-zA-Z])"), "<"),
    (re.compile(r"\\gt(?![a-zA-Z])"), ">"),
    (re.compile(r"\\infty(?![a-zA-Z])"), "∞"),
    (re.compile(r"\\pi(?![a-zA-Z])"), "π"),
    (re.compile(r"\\in(?![a-zA-Z])"), "∈"),
    (re.compile(r"\\cup(?![a-zA-Z])"), "∪"),
    (re.compile(r"\\pm(?![a-zA-Z])"), "±"),
    (re.compile(r"\\(alpha|beta|gamma|delta|theta|phi|lambda|mu|sigma|omega)(?![a-zA-Z])"), lambda m: _GREEK[m[1]]),
    (re.compile(r"\\boxed\s*\{\s*\}"), ""),
    (re.compile(r"\\(?:neq?|not\s*=)(?![a-zA-Z])"), "≠"),
    (re.compile(r"\\(?:emptyset|varnothing)(?![a-zA-Z])|\\\{\s*\\\}"), "∅"),
    (re.compile(r"\\triangle(?![a-zA-Z])"), "△"),
    (re.compile(r"\\parallel(?![a-zA-Z])"), "∥"),
    (re.compile(r"\\perp(?![a-zA-Z])"), "⊥"),
    (
        re.compile(r"\\(?:overline|overrightarrow|vec|overset\{\\frown\})\s*\{\s*([A-Z]{1,2}|[a-z](?=\s*\}\s*=))\s*\}"),
        r"\1",
    ),
    (re.compile(r"\\langle(?![a-zA-Z])\s*"), "("),
    (re.compile(r"\s*\\rangle(?![a-zA-Z])"), ")"),
    (re.compile(r"\\mathbb\s*\{?\s*R\s*\}?|ℝ"), "(-∞, ∞)"),
    (re.compile(r"\\angle(?![a-zA-Z])"), "∠"),
    (re.compile(r"\\(?:to|rightarrow)(?![a-zA-Z])"), "→"),
    (re.compile(r"\\approx(?![a-zA-Z])"), "≈"),
    (re.compile(r"\\([%$€£#&_])"), r"\1"),
    (re.compile(r"\\\{"), "⦃"),
    (re.compile(r"\\\}"), "⦄"),
]
_RECURRING = re.compile(r"(?<![\d.])(\d*\.\d*?)(?:(\d)\2\2+|(\d{2,}?)\3+)(?:\.{3}|\\[lcd]?dots)$")
"""A decimal whose last digits repeat before the dots: `0.1666...`, `0.1212...`."""
_FRACTION_NAME = re.compile(r"\\[dtc]frac(?![a-zA-Z])")
_FIRST_ARGUMENT = re.compile(r"\\frac\s*(\\[a-zA-Z]+\s*|\d|(?<=\s)[a-zA-Z])(?=\s*[\w{\\])")
_SECOND_ARGUMENT = re.compile(r"(\\frac\s*\{(?:[^{}]|\{[^{}]*\})*\})\s*(\\[a-zA-Z]+|\w)")
"""LaTeX takes one token for an argument without braces: `\\frac\\pi2`, `\\frac1{x}`."""
_CHOOSE = re.compile(r"\{\s*([^{}]+?)\s*\\choose\s*([^{}]+?)\s*\}")
_FORMULA = re.compile(r"\\(?:text|mathrm)\s*\{\s*([A-Z][a-z]?|[A-Z][A-Za-z]*)\s*\}(?=\s*[\^_\\]|$)")
"""Letters of a chemical formula in roman type."""
_CHARGE = re.compile(r"\^\s*\{?(\d?[+-])\}?$")
_MATRIX = re.compile(r"\\begin\{([bp])matrix\}(.*?)\\end\{\1matrix\}", re.DOTALL)
_BINOMIAL = re.compile(r"\\binom\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_INLINE_MATH = re.compile(r"\$([^$\s](?:[^$]*[^$\s])?)\$(?!\d)")
"""Mathematics in a sentence. Two amounts are none: `$5 and $6`, `$5-$6`."""
_INDEX = re.compile(r"(?<!log)(?:(?<=[A-Za-z])|(?<=[A-Za-z]\)))_(\d+)")
"""A number below the line, which other writers put on the line: `x_1`, `H_2O`."""
_SIMPLE_FRACTION = re.compile(r"(\d\s*)?\\frac\s*\{\s*(-?\d+(?:\.\d+)?)\s*\}\s*\{\s*(\d+(?:\.\d+)?)\s*\}")
_FRACTION = re.compile(r"\\frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_SIMPLE_GROUP = re.compile(r"([\^_])\s*\{\s*(-?\w+)\s*\}")
_GROUP = re.compile(r"(?<=[\^_])\s*\{([^{}]*)\}|(?<=\\sqrt)\s*\{([^{}]*)\}")
_DOUBLE = re.compile(r"\{\s*(\{[^{},;]*\})\s*\}")
_ANGLE = re.compile(r"\b[Aa]ngle\s+(?=[A-Z]{1,3}\b)")
_ABSOLUTE = re.compile(r"\babs\s*\(([^()]*)\)")
_BEFORE_A_NAME = re.compile(r"([∠△])\s+")
_SPACE = re.compile(r"\s+")
_LATEX: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (re.compile(r"√\[(\d+)\]\s*\(?(\w+)\)?"), r"\\sqrt[\1]{\2}"),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"\*"), r" \\cdot "),
    (re.compile(r"√\s*\(([^()]*)\)|(?<!\\)\bsqrt\s*\(([^()]*)\)"), lambda m: rf"\sqrt{{{m[1] or m[2]}}}"),
    (re.compile(r"√\s*(\d+(?:\.\d+)?|[a-z])"), r"\\sqrt{\1}"),
    (re.compile(r"\^\s*\(([^()]*)\)"), r"^{\1}"),
    (re.compile(r"\^\s*(-?\d+)"), r"^{\1}"),
    (re.compile(r"(?<![\\a-zA-Z])(pi|sin|cos|tan|cot|sec|csc|log|ln|exp|arcsin|arccos|arctan)(?![a-zA-Z])"), r"\\\1 "),
    (re.compile("π"), r"\\pi "),
    (re.compile("∞|(?<![a-zA-Z\\\\])inf(?:inity|ty)?(?![a-zA-Z])"), r"\\infty "),
    (re.compile("≤"), r"\\le "),
    (re.compile("≥"), r"\\ge "),
    (re.compile("±"), r"\\pm "),
    (re.compile("∪"), r"\\cup "),
    (
        re.compile(r"(\\(?:sin|cos|tan|cot|sec|csc) *)[({]?(\d+)(?:°|\^\{?\\circ\}?)[)}]?"),
        r"\1\\left(\\frac{\2\\pi}{180}\\right)",
    ),
    (re.compile("°"), r"^{\\circ}"),
    (re.compile("θ"), r"\\theta "),
]


def unified(text: str) -> str:
    """The text with one character for all Unicode variants of a sign, without wrappers, lead-ins and final stops."""
    if not text.isprintable():
        text = _INVISIBLE.sub("", text)
    if not text.isascii():
        text = _VULGAR.sub(" ", text)
        text = _SUBSCRIPT_RUN.sub(lambda run: "_" + unicodedata.normalize("NFKC", run[0]), text)
        text = _SUPERSCRIPT_RUN.sub(lambda run: "^" + run[0].translate(_SUPERSCRIPTS), text)
        text = unicodedata.normalize("NFKC", text.translate(_CHARACTERS)).translate(_CHARACTERS)
        text = _OTHER_DIGIT.sub(lambda digit: str(unicodedata.decimal(digit[0], digit[0])), text)
    if text.endswith(("...", "dots")):
        text = _RECURRING.sub(lambda match: f"{match[1]}({match[2] or match[3]})", text)
    if "frac" in text:
        text = _FIRST_ARGUMENT.sub(lambda match: rf"\frac{{{match[1].strip()}}}", _FRACTION_NAME.sub(r"\\frac", text))
        text = _SECOND_ARGUMENT.sub(r"\1{\2}", text)
    return _bare(text)


def _bare(text: str) -> str:
    text = text.strip()
    for _ in range(WRAPPINGS):
        shorter = _unwrapped(text)
        if shorter == text:
            break
        text = shorter
    return text


def _unwrapped(text: str) -> str:
    """The text without one layer of wrappers, and without lead-ins and final stops."""
    if text[:1] in _OPENS_A_WRAPPER:
        for wrapper in _WRAPPERS:
            match = wrapper.match(text)
            if match and _balanced(match[1]):
                text = match[1].strip()
    if not text[:1].isdigit():
        text = _LEAD.sub("", text)
    if text.endswith(")"):
        text = _ASIDE.sub("", text)
    if "\\" in text:
        text = _TRAILING_SPACE.sub("", text)
    stripped = text.rstrip(_STOPS)
    if not stripped.rstrip("!").endswith(_BEFORE_A_FACTORIAL):
        stripped = stripped.rstrip(_STOPS + "!")
    return stripped or text


def _balanced(text: str) -> bool:
    """Whether the braces are balanced."""
    depth = 0
    for character in text:
        depth += (character == "{") - (character == "}")
        if depth < 0:
            return False
    return depth == 0


def plain(unified_text: str) -> str:
    """The text with plain signs for LaTeX commands: `\\dfrac{3}{4}` as 3/4, `30^\\circ` as 30°, `\\{1\\}` as ⦃1⦄."""
    text = unified_text
    if "\\" in text or "{" in text or "~" in text:
        text = _CHOOSE.sub(r"\\binom{\1}{\2}", _MATRIX.sub(_rows, text))
        if _FORMULA.match(text):
            text = _CHARGE.sub(r"\1", _FORMULA.sub(r"\1", text))
        for pattern, replacement in _COMMANDS:
            text = pattern.sub(replacement, text)
        for _ in range(12):
            shorter = _SIMPLE_GROUP.sub(r"\1\2", _SIMPLE_FRACTION.sub(_simple_fraction, text))
            shorter = _GROUP.sub(lambda group: f"({group[1] or group[2] or ''})", shorter)
            shorter = _BINOMIAL.sub(r"binom(\1)(\2)", _FRACTION.sub(r"(\1)/(\2)", shorter))
            shorter = _DOUBLE.sub(r"\1", shorter)
            if shorter == text:
                break
            text = shorter
        text = _bare(text)
    if "_" in text:
        text = _INDEX.sub(r"\1", text)
    if "$" in text:
        text = _INLINE_MATH.sub(r"\1", text)
    if "ngle " in text:
        text = _ANGLE.sub("∠", text)
    if "abs" in text:
        text = _ABSOLUTE.sub(r"|\1|", text)
    if not text.isascii():
        text = _BEFORE_A_NAME.sub(r"\1", text).replace("△", "triangle ")
    return _SPACE.sub(" ", text.replace("**", "^").replace("$", " $ " if text.count("$") > 1 else "$")).strip()


def _rows(matrix: re.Match[str]) -> str:
    """A matrix as the list of its rows."""
    rows = [row.split("&") for row in matrix[2].split(r"\\") if row.strip()]
    return "[" + ", ".join(f"[{', '.join(cell.strip() for cell in row)}]" for row in rows) + "]"


def _simple_fraction(match: re.Match[str]) -> str:
    whole = match[1].strip() + " " if match[1] else ""
    return f"{whole}{match[2]}/{match[3]}"


def latex(unified_text: str) -> str:
    """The text with LaTeX commands for plain signs and function names."""
    text = unified_text.replace("$", "")
    for pattern, replacement in _LATEX:
        text = pattern.sub(replacement, text)
    return text
