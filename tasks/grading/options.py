"""Which option a reply in prose chooses. An uncertain reading is None.

Evidence, in this order:

1. a box;
2. a text that consists of a letter or an option;
3. letters that the text claims (`the answer is B`, `答案是B`);
4. a single letter that is mentioned and not denied;
5. a single option whose words occur and are not denied.

If one level has evidence for two options, the result is None, unless the text revises itself (`wait`, `therefore`).
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tasks.grading.equality import equal_in_form
from tasks.grading.extraction import extract_answer
from tasks.grading.words import ARTICLES, plain_word

LONGEST = 4000
"""Characters that are read, from the end of the text, where the conclusion is."""

_LETTER = re.compile(r"(?<![A-Za-z0-9'_\\])([(\[{\"'*]{0,3})([A-Za-j])([)\]}\"'*]{0,3})(?![A-Za-z0-9_]|'[a-z])")
_ALONE = re.compile(
    r"(?:(?:the\s+)?(?:final\s+|correct\s+)?answer\s*(?:is)?\s*:?\s*)?(?:(?:option|choice)\s+)?"
    r"[(\[]?([A-Z])(?:[)\]]?[.:)]?|[)\]])(?:\s+(.+))?",
    re.IGNORECASE | re.DOTALL,
)
_NAMES_A_LETTER = (
    r"(?:the\s+)?(?:(?:correct|right|best|final)\s+)?(?:option|choice|letter|answer|选项)?\s*(?:is\s+|:\s*)?"
)
_CLAIM_BEFORE = re.compile(
    r"(?:\bans(?:wer)?\b[^.;\n?]{0,40}?(?:\b(?:is|be|was)\b|[:=])\s*"
    r"|\b(?:correct|right|best)\s+\w+[^.;,\n?]{0,25}?(?:\b(?:is|be)\b|[:=])\s*"
    r"|\b(?:choos(?:e|ing)|chose|pick(?:ed|ing)?|select(?:ed|ing)?|go(?:ing)?\s+with|went\s+with|conclude|opt\s+for)\s+"
    r"|\b(?:leav(?:es|ing)|left\s+with)\s+(?:us\s+with\s+)?(?:only\s+)?|\bwait,?\s+"
    r"|(?:\bnot|n't)\s+(?:option\s+)?[(]?[A-Z][)]?,?\s+but\s+(?:rather\s+)?"
    r"|\b(?:think|believe|guess)\s+(?:that\s+)?(?:it(?:'s|\s+is)\s+)?"
    r"|\banswer\s+|\b(?:therefore|thus|hence|so)[,:]?\s+(?:it(?:'s|\s+is)\s+|it\s+must\s+be\s+)?"
    r"|\b(?:it(?:'s|\s+is|\s+must\s+be)|that(?:'s|\s+is))\s+"
    r"|(?:答案|正确选项|正确答案|结果)(?:应该|应当|应)?(?:是|为|选)?\s*:?\s*|(?:应选|故选|因此选|所以选|选择|应该选|选)\s*:?\s*"
    r"|而是\s*)" + _NAMES_A_LETTER + r"$",
    re.IGNORECASE,
)
_CLAIM_AFTER = re.compile(
    r"^\s*(?:(?:is|are|seems|looks|appears|must\s+be|would\s+be)\s+(?:to\s+be\s+)?(?:both\s+|all\s+|also\s+)?(?:clearly\s+|definitely\s+|the\s+)*"
    r"(?:only\s+)?(?:correct|right|best|(?:an\s+)?answers?\b|most\s+likely)|(?:是|为)?(?:正确|对的|正确答案|答案))",
    re.IGNORECASE,
)
_DENIAL_BEFORE = re.compile(
    r"(?:\bnot|n't|\bnever|\bneither|\bnor|\brather\s+than|\binstead\s+of|\bexcept|\bunlike|\bexclud(?:e|es|ing)|\bwithout"
    r"|\beliminat(?:e|es|ed|ing)|\brul(?:e|es|ed|ing)\s+out|\breject(?:s|ed|ing)?|\bcannot\s+be|不是|不选|不可能是|排除|并非|不应选)"
    r"\s*(?:be\s+|necessarily\s+|simply\s+|both\s+|either\s+)?" + _NAMES_A_LETTER + r"$",
    re.IGNORECASE,
)
_DENIAL_AFTER = re.compile(
    r"^\s*(?:(?:is|are|was|were|can|does|do|would|could|must|seems?|looks?)\s*(?:clearly|both|all|also|definitely|obviously)?"
    r"\s*(?:not\b|n't|wrong|incorrect|false|impossible|ruled\s+out|eliminated|out\b|too\b)|\b(?:isn't|aren't|can't|cannot|"
    r"doesn't|don't|wasn't|won't)|(?:是|都|均)?(?:不对|错误|错的|不正确|不是|错))",
    re.IGNORECASE,
)
_LIST = re.compile(r"\s*(?:,|,?\s*(?:and|or|nor|&)|和|或|、|/)\s*(?:option|choice)?\s*", re.IGNORECASE)
_REVISION = re.compile(
    r"\b(?:wait|actually|correction|instead|final(?:ly)?|therefore|thus|hence|so|but|on\s+second\s+thought|however|no,)"
    r"|所以|因此|最终|但|不对",
    re.IGNORECASE,
)
_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.IGNORECASE | re.DOTALL)
_HYPOTHETICAL = re.compile(r"(?=.*\b(?:if|suppose|assuming)\b).*\b(?:were|would|had)\b", re.IGNORECASE)
_CONCESSION = re.compile(r"\b(?:although|though|while|despite)\b[^,]*$", re.IGNORECASE)
_SENTENCES = re.compile(r"(?<=[.!?])(?=\s)|(?<=\n)")
_MAY_NAME_AN_OPTION = re.compile(
    r"(?:^|[^\w\s]|[^\x00-\x7f]|\b(?:and|or|nor|but|not|never|is|be|was|are|as|than|with|between|either|neither|both|only|of|"
    r"over|except|unlike|out|that|it's|isn't|then|maybe|perhaps|probably|definitely|clearly|option|choice|letter|answer|"
    r"eliminated?|exclud(?:e|ing)|reject(?:ed)?|so|thus|hence|therefore|[A-Z]))\s*$",
    re.IGNORECASE,
)
"""Text that may precede an option's letter. A noun may not: `triangle A`, `vitamin C`."""
_CLAIMS_WORDS = re.compile(
    r"\b(?:answer(?: is| be| must be| would be)?|so|thus|therefore|hence)(?: it is| it must be)?$"
)
_NEW_CLAUSE = re.compile(r"[.;!](?=\s)|,(?=\s*(?:it|this|that|the answer)\b)", re.IGNORECASE)
"""A boundary that ends a denial, as `but` does: `it's not red, it's blue`."""
_ARTICLE_OR_PRONOUN = re.compile(
    r"^\s+(?!(?:is|are|and|or|but|because|since|as|seems|looks|appears|must|would|with)\b)[a-z]"
)
_A_WORD = re.compile(r"\s*(?!(?:or|and|but|rather)\b)[a-z]")
_DENIED_BEHIND = re.compile(r"(?:is|are|was) (?:not|wrong|incorrect|false)\b|isnt\b|arent\b|wasnt\b")
_DENYING_WORDS = frozenset(
    {"not", "no", "never", "neither", "nor", "isnt", "arent", "wasnt", "without", "cannot", "than"}
)


@dataclass(frozen=True)
class _Mention:
    """A letter in the text that names an option."""

    letter: str
    start: int
    end: int
    claimed: bool
    denied: bool


def choose_option(text: str, options: Mapping[str, str] | Sequence[str]) -> str | None:
    """The letter of the option that the text chooses; None if it is not certain. A sequence is lettered A, B, C ..."""
    lettered = _lettered(options)
    prose = _prose(text)
    boxed = extract_answer(prose)
    if boxed is not None:
        return _as_option(re.sub(r"\\(?:text|mathrm|textbf)\s*\{([^{}]*)\}", r"\1", boxed), lettered) or None
    whole = _as_option(prose, lettered)
    if whole is not None:
        return whole or None
    mentions = _mentions(prose, lettered)
    claimed = [mention for mention in mentions if mention.claimed and not mention.denied]
    if claimed:
        return _decided_letter(claimed, prose)
    open_letters = {mention.letter for mention in mentions if not mention.denied}
    if open_letters:
        return open_letters.pop() if len(open_letters) == 1 else None
    denied = {mention.letter for mention in mentions}
    return _by_words(prose, {letter: option for letter, option in lettered.items() if letter not in denied})


def choose_options(text: str, options: Mapping[str, str] | Sequence[str]) -> str:
    """The sorted letters that a reply to a question with several right options chooses: "AC"; "" without any.

    These are the letters that the text claims, or all that it mentions without a claim and without a denial.
    """
    prose = _prose(text)
    named = [mention for mention in _mentions(prose, _lettered(options)) if not mention.denied]
    return "".join(sorted({mention.letter for mention in named if mention.claimed} or {m.letter for m in named}))


def _prose(text: str) -> str:
    """The conclusion of a reply without typography."""
    prose = unicodedata.normalize("NFKC", _conclusion(text)[-LONGEST:])
    return prose.replace("**", "").replace("。", ".").replace("’", "'").strip()


def _conclusion(text: str) -> str:
    """The text after the thoughts, or the content of the last answer tag in it."""
    behind = text[-4 * LONGEST :].rpartition("</think>")[2]
    tagged = _TAGGED.findall(behind)
    return str(tagged[-1]) if tagged else behind


def _lettered(options: Mapping[str, str] | Sequence[str]) -> dict[str, str]:
    if isinstance(options, Mapping):
        return {letter.upper(): text for letter, text in options.items()}
    return {chr(ord("A") + position): text for position, text in enumerate(options)}


def _as_option(text: str, options: Mapping[str, str]) -> str | None:
    """The letter of the option that a short text is: its letter, its letter and text, or its text.

    "" if letter and text disagree; None if the text is no option.
    """
    text = text.strip().strip("*\"'$").strip()
    same = [letter for letter, option in options.items() if len(text) <= 256 and equal_in_form(text, option)]
    match = _ALONE.fullmatch(text)
    if match is None or match[1].upper() not in options or (match[2] and not _separated(text, match)):
        return same[0] if len(same) == 1 else None
    letter = match[1].upper()
    if match[2] is None:
        return letter
    if len(match[2]) > 100:
        return None
    named = [other for other, option in options.items() if equal_in_form(match[2], option)]
    if named and letter not in named:
        return ""
    return letter if named or (_LETTER.search(match[2]) is None and len(match[2].split()) <= 12) else None


def _separated(text: str, match: re.Match[str]) -> bool:
    """Whether punctuation separates the letter from the text after it: `A. cat`, not `A cat`."""
    return re.match(r"[)\]]?[.:)]|[)\]]", text[match.end(1) :]) is not None


def _mentions(text: str, options: Mapping[str, str]) -> list[_Mention]:
    """All letters in the text that name an option, in order."""
    mentions: list[_Mention] = []
    for match in _LETTER.finditer(text):
        before, after = _clause_before(text, match.start()), text[match.end() :][:60]
        claimed = _CLAIM_BEFORE.search(before) is not None or _CLAIM_AFTER.match(after) is not None
        claimed &= _CONCESSION.search(before) is None
        listed = bool(mentions) and _LIST.fullmatch(text[mentions[-1].end : match.start()]) is not None
        letter = match[2].upper()
        if letter not in options or not _is_a_letter(match, before, after, claimed, listed):
            continue
        if _in_question(text, match.end()):
            continue
        denied = _DENIAL_BEFORE.search(before) is not None or _DENIAL_AFTER.match(after) is not None
        denied |= _HYPOTHETICAL.match(_sentence(text, match.start())) is not None
        mentions.append(_Mention(letter, match.start(), match.end(), claimed, denied))
    return _spread_over_lists(mentions, text)


def _clause_before(text: str, position: int) -> str:
    """The part of the clause before a position, at most 90 characters."""
    return re.split(r"[.;\n?!](?=\s|$)", text[max(0, position - 90) : position])[-1]


def _sentence(text: str, position: int) -> str:
    begins = max(0, position - 200)
    start = max(begins - 1, *(text.rfind(end, begins, position) for end in ".!?\n")) + 1
    return re.split(r"[.!?\n]", text[start : position + 200])[0]


def _is_a_letter(match: re.Match[str], before: str, after: str, claimed: bool, listed: bool) -> bool:
    """Whether the letter names an option, and is no article, pronoun or single lower-case letter."""
    enclosed = bool(match[1]) and bool(match[3])
    named = re.search(r"\b(?:option|choice|letter|answer)\s*(?:is\s+|:\s*)?$", before, re.IGNORECASE) is not None
    if enclosed or (named and not _ARTICLE_OR_PRONOUN.match(after)):
        return True
    listed |= re.search(r"\bboth\s+$", before) is not None
    if match[2].islower():
        return (claimed or listed) and not (_A_WORD if match[2] == "a" else _ARTICLE_OR_PRONOUN).match(after)
    if not claimed and not _MAY_NAME_AN_OPTION.search(before):
        return False
    return match[2] not in "AI" or not _ARTICLE_OR_PRONOUN.match(after)


def _in_question(text: str, position: int) -> bool:
    """Whether the sentence at a position ends in a question mark."""
    end = re.search(r"[.;!?\n]", text[position : position + 300])
    return end is not None and end[0] == "?"


def _spread_over_lists(mentions: list[_Mention], text: str) -> list[_Mention]:
    """Extend denials and claims over lists of letters.

    A denial before a list (`not A or B`) or after it (`A and C are wrong`) denies all its letters. A claim of a list
    (`the answer is A or B`, `A and C are correct`) claims all its letters.
    """
    result = list(mentions)
    for k in range(1, len(result)):
        first, second = result[k - 1], result[k]
        between = text[first.end : second.start]
        if _LIST.fullmatch(between) is None:
            continue
        if first.denied and not second.claimed:
            result[k] = replace(second, denied=True)
        elif first.claimed and not first.denied and not second.denied:
            result[k] = replace(second, claimed=True)
    claimed_behind = {mention.letter for mention in result if _CLAIM_AFTER.match(text[mention.end :][:60])}
    for k in range(len(result) - 1, 0, -1):
        first, second = result[k - 1], result[k]
        denied_after = second.denied and _DENIAL_BEFORE.search(_clause_before(text, second.start)) is None
        listed = _LIST.fullmatch(text[first.end : second.start]) is not None
        if denied_after and listed:
            result[k - 1] = replace(first, denied=True)
        elif listed and not first.denied and second.letter in claimed_behind:
            result[k - 1] = replace(first, claimed=True)
            claimed_behind.add(first.letter)
    return [replace(m, claimed=True) if _chosen_over(text, m) else m for m in result]


def _chosen_over(text: str, mention: _Mention) -> bool:
    """Whether the letter is preferred to another one: `not A but B`, `B rather than A`, `B, not A`."""
    before, after = text[max(0, mention.start - 40) : mention.start], text[mention.end : mention.end + 40]
    return (
        re.search(r"(?:\bnot|n't|不是)\s[^.;]*\b(?:but|rather)\s+(?:rather\s+)?(?:option\s+)?$", before, re.IGNORECASE)
        is not None
        or re.match(r"\s*,?\s*(?:rather\s+than|instead\s+of|(?:and\s+)?not)\s+(?:option\s+)?[(]?[A-Z]\b", after)
        is not None
    )


def _decided_letter(claims: list[_Mention], text: str) -> str | None:
    """The claimed letter. Of two different letters, the last one if the text revises itself in between; else None."""
    last = claims[-1]
    earlier = [mention for mention in claims if mention.letter != last.letter]
    if not earlier:
        return last.letter
    between = text[earlier[-1].end : last.start]
    return last.letter if _REVISION.search(between) and len({m.letter for m in earlier}) == 1 else None


def _by_words(text: str, options: Mapping[str, str]) -> str | None:
    """The only option whose words occur without a denial, longer options first; of several, the only claimed one."""
    stated = "".join(part for part in _SENTENCES.split(text) if not _HYPOTHETICAL.match(part))
    words = _words(_NEW_CLAUSE.sub(" but ", stated))
    listed = {"", "or", "and"}.union(*map(_words, options.values()))
    found: list[str] = []
    claimed: list[str] = []
    for letter, option in sorted(options.items(), key=lambda item: -len(_words(item[1]))):
        wanted = _words(option)
        for start in range(len(words) - len(wanted) + 1 if wanted else 0):
            if words[start : start + len(wanted)] == wanted:
                before = words[:start]
                behind = " ".join(words[start + len(wanted) :][:3])
                if not _denied_in_words(before, listed) and not _DENIED_BEHIND.match(behind):
                    found.append(letter)
                    claimed += [letter] if _CLAIMS_WORDS.search(" ".join(before[-6:])) else []
                words[start : start + len(wanted)] = [""] * len(wanted)
    chosen = set(claimed) or set(found)
    return chosen.pop() if len(chosen) == 1 and not text.rstrip().endswith("?") else None


def _denied_in_words(before: list[str], listed: set[str]) -> bool:
    """Whether one of the last three words before an option denies it. Words of other options do not count:
    `not red, blue or green`."""
    return not _DENYING_WORDS.isdisjoint(_after_but([word for word in before if word not in listed][-3:]))


def _after_but(words: list[str]) -> list[str]:
    return _after_but(words[words.index("but") + 1 :]) if "but" in words else words


def _words(text: str) -> list[str]:
    lower = text.casefold().replace("n't", "nt").replace("'", "")
    tokens = re.findall(r"-?\d+(?:[.,:/]\d+)*%?|[^\W\d_]+|[^\s\w.,;:!?()\"-]", lower)
    return [plain_word(token) for token in tokens if token not in ARTICLES]
