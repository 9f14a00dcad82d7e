"""One notation for an answer's text: Unicode and LaTeX written plainly, or (for algebra) all as LaTeX."""

import re
import unicodedata
from collections.abc import Callable

WRAPPINGS = 4
"""Wrappers around wrappers that are taken off."""

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_SUPERSCRIPT_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+")
_VULGAR = re.compile(r"(?<=\d)\s*(?=[¼½¾⅐-⅞])")
_CHARACTERS = str.maketrans({
    "−": "-", "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "×": "*", "✕": "*", "·": "*", "⋅": "*", "∙": "*",
    "÷": "/", "⁄": "/", "∕": "/", "’": "'", "‘": "'", "`": "'", "“": '"', "”": '"', "º": "°", "˚": "°", "…": "...",
    "，": ",", "。": ".", "：": ":", "；": ";", "（": "(", "）": ")", "\u200b": "", "\ufeff": "", "µ": "μ", "Ω": "Ω",
    "∶": ":", "⩽": "≤", "⩾": "≥", "、": ",", "′": "'", "″": '"', "⟨": "(", "⟩": ")",
})  # fmt: skip
_WRAPPERS = [
    re.compile(r"^\$\$(.+)\$\$$", re.DOTALL),
    re.compile(r"^\$([^$]+)\$$"),
    re.compile(r"^\\\((.+)\\\)$", re.DOTALL),
    re.compile(r"^\\\[(.+)\\\]$", re.DOTALL),
    re.compile(r"^\\boxed\s*\{(.+)\}$", re.DOTALL),
    re.compile(r"^\*\*(?=\w)(.+?)\*\*$", re.DOTALL),
    re.compile(r'^"([^"]+)"$'),
    re.compile(r"^'([^']+)'$"),
    re.compile(r"^<answer>(.+)</answer>$", re.DOTALL | re.IGNORECASE),
]
_LEAD = re.compile(
    r"^(?:(?:so|thus|therefore|hence),?\s+)?(?:the\s+)?(?:(?:final|correct|right)\s+)?answer(?:\s+is\s*:?|\s*[:=])\s*"
    r"(?=\S)|^(?:approximately|approx\.?|about|around|roughly|nearly|≈|~|\\approx)\s*(?=[\d$\\-])",
    re.IGNORECASE,
)
_STOPS = " .;,?\n"
_BEFORE_A_FACTORIAL = (*"0123456789", ")")
_COMMANDS = [
    (
        re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mathsf|mbox|operatorname|rm)\s*\{([^{}]*)\}"),
        r" \1 ",
    ),
    (re.compile(r"\\(?:left|right|bigl?|bigr|Bigl?|Bigr|displaystyle|limits)(?![a-zA-Z])"), ""),
    (re.compile(r"\\[dtc]frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\\frac\s*(\d)\s*(\d)"), r"\\frac{\1}{\2}"),
    (re.compile(r"\{,\}"), ","),
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
    (re.compile(r"\\(?:to|rightarrow)(?![a-zA-Z])"), "→"),
    (re.compile(r"\\approx(?![a-zA-Z])"), "≈"),
    (re.compile(r"\\([%$€£#&_])"), r"\1"),
    (re.compile(r"\\\{"), "⦃"),
    (re.compile(r"\\\}"), "⦄"),
]
_SIMPLE_FRACTION = re.compile(r"(\d\s*)?\\frac\s*\{\s*(-?\d+(?:\.\d+)?)\s*\}\s*\{\s*(\d+(?:\.\d+)?)\s*\}")
_FRACTION = re.compile(r"\\frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_SIMPLE_GROUP = re.compile(r"([\^_])\s*\{\s*(-?\w+)\s*\}")
_GROUP = re.compile(r"(?<=[\^_])\s*\{([^{}]*)\}|(?<=\\sqrt)\s*\{([^{}]*)\}")
_SPACE = re.compile(r"\s+")
_LATEX: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
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
    (re.compile("°"), r"^{\\circ}"),
    (re.compile("θ"), r"\\theta "),
]


def unified(text: str) -> str:
    """Unicode variants of one sign written alike; wrappers, lead-ins and final stops taken off."""
    if not text.isascii():
        text = _VULGAR.sub(" ", text)
        text = _SUPERSCRIPT_RUN.sub(lambda run: "^" + run[0].translate(_SUPERSCRIPTS), text)
        text = unicodedata.normalize("NFKC", text.translate(_CHARACTERS)).translate(_CHARACTERS)
    text = text.strip()
    for _ in range(WRAPPINGS):
        shorter = _unwrapped(text)
        if shorter == text:
            break
        text = shorter
    return text


def _unwrapped(text: str) -> str:
    for wrapper in _WRAPPERS:
        found = wrapper.match(text)
        if found and _balanced(found[1]):
            text = found[1].strip()
    text = _LEAD.sub("", text)
    stripped = text.rstrip(_STOPS)
    if not stripped.rstrip("!").endswith(_BEFORE_A_FACTORIAL):
        stripped = stripped.rstrip(_STOPS + "!")
    return stripped if stripped and not text.endswith(r"\,") else text


def _balanced(text: str) -> bool:
    depth = 0
    for character in text:
        depth += (character == "{") - (character == "}")
        if depth < 0:
            return False
    return depth == 0


def plain(unified_text: str) -> str:
    """LaTeX commands written as plain signs: `\\dfrac{3}{4}` as 3/4, `30^\\circ` as 30°, `\\{1\\}` as ⦃1⦄."""
    text = unified_text
    if "\\" in text or "{" in text or "~" in text:
        for pattern, replacement in _COMMANDS:
            text = pattern.sub(replacement, text)
        for _ in range(12):
            shorter = _SIMPLE_GROUP.sub(r"\1\2", _SIMPLE_FRACTION.sub(_simple_fraction, text))
            shorter = _GROUP.sub(lambda group: f"({group[1] or group[2] or ''})", shorter)
            shorter = _FRACTION.sub(r"(\1)/(\2)", shorter)
            if shorter == text:
                break
            text = shorter
    return _SPACE.sub(" ", text.replace("**", "^").replace("$", " $ " if text.count("$") > 1 else "$")).strip()


def _simple_fraction(found: re.Match[str]) -> str:
    whole = found[1].strip() + " " if found[1] else ""
    return f"{whole}{found[2]}/{found[3]}"


def latex(unified_text: str) -> str:
    """Plain signs and function names written as LaTeX commands."""
    text = unified_text.replace("$", "")
    for pattern, replacement in _LATEX:
        text = pattern.sub(replacement, text)
    return text
