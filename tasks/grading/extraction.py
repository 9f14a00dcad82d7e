"""Extract the boxed answer of a reply."""

import re

_TOKEN = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
_BARE = re.compile(r"\\boxed\s+([^\s{}$\\]+)")


def extract_answer(text: str) -> str | None:
    r"""The content of the last `\boxed{...}`, with nested braces.

    None without a box, if it is empty, or if a reply was cut off in a later one. A box in thoughts is no answer.
    """
    text = text.rpartition("</think>")[2].partition("<think>")[0]
    content = _last_box(text)
    if content is None:
        bare = _BARE.findall(text)
        return bare[-1].rstrip(".,;") or None if bare else None
    inner = content.strip()
    while inner.startswith(r"\boxed") and (nested := _whole_box(inner)) is not None:
        inner = nested.strip()
    return inner or None


def _last_box(text: str) -> str | None:
    """Content of the box that closes last; None if another one opens behind it and never closes.

    Of nested boxes this is the outer one.
    """
    opened: list[int | None] = []
    content, end = None, 0
    for token in _TOKEN.finditer(text):
        if token[0] == "}":
            start = opened.pop() if opened else None
            if start is not None:
                content, end = text[start : token.start()], token.end()
        elif token[0].endswith("{") and token[0] != r"\{":
            opened.append(token.end() if token[0].startswith("\\") else None)
    return None if any(start is not None and start > end for start in opened) else content


def _whole_box(text: str) -> str | None:
    """Content of the box that the whole text is; None if it is none."""
    content = _last_box(text)
    return content if content is not None and re.fullmatch(r"\\boxed\s*\{" + re.escape(content) + r"\}", text) else None
