"""English words of short answers: numbers, plurals, spelling variants, articles."""

from fractions import Fraction

ARTICLES = frozenset({"a", "an", "the"})

_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
CARDINALS = {word: value for value, word in enumerate([*_UNITS.split(), "eighteen", "nineteen"])} | {
    word: 10 * value for value, word in enumerate(_TENS.split(), start=2)
}
SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
PARTS = {"half": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "eighth": 8, "tenth": 10}
_ORDINAL_WORDS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth "
    "sixteenth seventeenth eighteenth nineteenth twentieth"
)
ORDINAL_SIGNS = ["1st", "2nd", "3rd", *(f"{number}th" for number in range(4, 21))]
ORDINALS = dict(zip(_ORDINAL_WORDS.split(), ORDINAL_SIGNS, strict=True))
SPELLINGS = {
    "grey": "gray", "colour": "color", "colored": "color", "coloured": "color", "metre": "meter", "litre": "liter",
    "centre": "center", "theatre": "theater", "tyre": "tire", "aeroplane": "airplane", "plane": "airplane",
    "doughnut": "donut", "television": "tv", "tshirt": "t shirt", "okay": "ok", "jewellery": "jewelry",
    "favourite": "favorite",
    "dne": "does not exist", "yoghurt": "yogurt", "mum": "mom", "sq": "square", "mon": "monday", "tue": "tuesday",
    "tues": "tuesday", "thu": "thursday", "thur": "thursday", "thurs": "thursday", "fri": "friday", "jan": "january",
    "feb": "february", "mar": "march", "apr": "april", "jun": "june", "jul": "july", "aug": "august",
    "sep": "september", "sept": "september", "oct": "october", "nov": "november", "dec": "december",
}  # fmt: skip
IRREGULAR = {
    "men": "man", "women": "woman", "children": "child", "people": "person", "feet": "foot", "teeth": "tooth",
    "mice": "mouse", "geese": "goose", "leaves": "leaf", "knives": "knife", "wolves": "wolf", "shelves": "shelf",
    "loaves": "loaf", "halves": "half", "wives": "wife", "lives": "life", "calves": "calf", "thieves": "thief",
    "scarves": "scarf", "oxen": "ox", "vertices": "vertex", "axes": "axis", "matrices": "matrix", "dice": "die",
    "cacti": "cactus", "foci": "focus", "radii": "radius", "policemen": "policeman", "shoes": "shoe", "toes": "toe",
    "ties": "tie", "pies": "pie", "movies": "movie", "cookies": "cookie", "horses": "horse", "houses": "house",
    "roses": "rose", "noses": "nose", "buses": "bus", "gases": "gas", "lenses": "lens", "caches": "cache",
}  # fmt: skip
_INVARIANT_WORDS = (
    "news series species glasses scissors trousers mathematics physics chess paris texas mars venus christmas always "
    "perhaps towards yes less plus minus times this his hers its ours is was has does lens gas bus canvas atlas "
    "tennis axis basis analysis left asparagus campus cactus focus radius status virus bias pants jeans williams jones "
    "adams evans roberts phillips edwards collins stevens rogers andrews richards peters hughes harris james charles"
)
INVARIANT = frozenset(_INVARIANT_WORDS.split())

ELEMENTS = frozenset(
    "Li Ne Na Mg Al Si Cl Ar Ca Sc Ti Cr Mn Fe Co Ni Cu Zn Ga Ge Se Br Kr Rb Sr Zr Nb Mo Tc Ru Rh Pd Ag Cd Sn Sb Te Xe "
    "Cs Ba La Ce Pr Nd Sm Eu Gd Tb Dy Er Tm Yb Lu Hf Ta Re Os Ir Pt Au Hg Tl Pb Bi Po Rn Fr Ra Ac Th Pa Np Pu".split()
)
"""Symbols of chemical elements with two letters that are no words: Co is not CO."""


def singular(word: str) -> str:
    """The singular of a noun: by a table for irregular forms, by rule otherwise. Words that only look plural stay."""
    if word in IRREGULAR:
        return IRREGULAR[word]
    if len(word) < 4 or word in INVARIANT or not word.endswith("s") or word.endswith(("ss", "us", "is", "ics")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes", "oes")):
        return word[:-2]
    return word[:-1]


def plain_word(word: str) -> str:
    """The comparison form of a lower-case word: a number as digits, one spelling, singular."""
    word = SPELLINGS.get(word, word)
    if word in CARDINALS:
        return str(CARDINALS[word])
    return SPELLINGS.get(singular(word), ORDINALS.get(word) or singular(word))


def leading_number(words: list[str]) -> tuple[Fraction, int] | None:
    """The number at the beginning of a list of lower-case words, and how many words it takes; None without one."""
    if words[:2] in (["half", "a"], ["half", "an"]) and words[2:3] and words[2] in SCALES:
        return Fraction(SCALES[words[2]], 2), 3
    sign = -1 if words[:1] in (["minus"], ["negative"]) else 1
    start = 1 if sign < 0 else 0
    whole = _cardinal(words, start)
    if whole is not None and words[whole[1] : whole[1] + 1] == ["point"]:
        return _decimal(words, *whole, sign)
    part = _fraction(words, *(whole or (0, start)))
    if part is not None and words[part[1] : part[1] + 1] and words[part[1]] in SCALES:
        return sign * part[0] * SCALES[words[part[1]]], part[1] + 1
    if part is not None:
        return sign * part[0], part[1]
    return None if whole is None else (Fraction(sign * whole[0]), whole[1])


def _decimal(words: list[str], whole: int, position: int, sign: int) -> tuple[Fraction, int] | None:
    """`three point one four`: single digits after the point."""
    end = position + 1
    while end < len(words) and CARDINALS.get(words[end], 10) < 10:
        end += 1
    digits = "".join(str(CARDINALS[word]) for word in words[position + 1 : end])
    return (sign * Fraction(f"{whole}.{digits}"), end) if digits else None


def _cardinal(words: list[str], position: int) -> tuple[int, int] | None:
    """`two hundred and five`: the whole number from `position` on, and the position after it."""
    total = current = 0
    start = position
    while position < len(words):
        word = words[position]
        if word in CARDINALS:
            if current % 10 or (current and CARDINALS[word] >= 10 and current % 100):
                break
            current += CARDINALS[word]
        elif word in SCALES and (position > start or word == "dozen"):
            if SCALES[word] <= 100:
                current = max(current, 1) * SCALES[word]
            else:
                total, current = total + max(current, 1) * SCALES[word], 0
        elif (
            word in ("a", "an")
            and position == start
            and words[position + 1 : position + 2]
            and (words[position + 1] in SCALES)
        ):
            current = 1
        elif not (
            word == "and"
            and position > start
            and words[position - 1] in SCALES
            and (words[position + 1 : position + 2] and words[position + 1] in CARDINALS)
        ):
            break
        position += 1
    return (total + current, position) if position > start else None


def _fraction(words: list[str], whole: int, position: int) -> tuple[Fraction, int] | None:
    """`three quarters`, `half`, `seven and a half`, `seven and three quarters`.

    `whole`: the number read before `position`.
    """
    if position and words[position - 1] in CARDINALS and whole < 20 and position < len(words):
        name = singular(words[position])
        if name in PARTS and (whole == 1) == (name == words[position]):
            return Fraction(whole, PARTS[name]), position + 1
    if position < len(words) and words[position] == "and" and position > 0:
        position += 1
    elif position:
        return None
    if words[position : position + 1] in (["a"], ["an"], ["one"]):
        position += 1
    if words[position : position + 1] in (["half"], ["quarter"], ["third"]) and words[position + 1 :] != ["place"]:
        if words[position] == "third" and not position:
            return None
        return whole + Fraction(1, PARTS[words[position]]), position + 1
    if position and words[position : position + 1] and words[position] in CARDINALS and len(words) > position + 1:
        name = singular(words[position + 1])
        if name in PARTS:
            return whole + Fraction(CARDINALS[words[position]], PARTS[name]), position + 2
    return None
