"""An LLM as a second opinion on answers, over an endpoint that speaks OpenAI's chat completions.

Its score stands beside the rules' and never replaces it. The model is named, the temperature is 0, and every verdict is
kept in a folder by the hash of what was sent, so that a score can be read again without the endpoint. It judges whole
answers against the target; it sees neither the picture nor the reasoning, which could talk it round.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, JsonValue

from tasks.settings.base import Settings
from tasks.settings.errors import UserError
from tasks.settings.fingerprint import NotFingerprinted, canonical

SYSTEM = (
    "You compare an answer with the right answer to a question. They agree if they mean the same; an answer that says "
    "more than one thing, or nothing definite, does not agree. Reply with one word: yes or no."
)
PASSING = (408, 429, 500, 502, 503, 504)
"""HTTP states worth another try."""


@dataclass(frozen=True)
class Case:
    """What is put to the judge."""

    question: str
    answer: str
    target: str


class JudgeConfig(Settings):
    """Which model judges, and where it is asked."""

    model: str = Field(min_length=1)
    """The model's name and version, as the endpoint knows it: a dated one, since a moving name is another judge."""
    url: Annotated[str, NotFingerprinted] = "http://127.0.0.1:8000/v1"
    """The endpoint, as far as `/chat/completions`."""
    cache: Annotated[Path, NotFingerprinted] = Path(".cache/judge")
    """Where verdicts are kept."""
    key: Annotated[str, NotFingerprinted] = "OPENAI_API_KEY"
    """The environment variable that holds the endpoint's key; without it none is sent."""
    seconds: Annotated[float, NotFingerprinted] = Field(60.0, gt=0)
    """Time limit of a request."""
    tries: Annotated[int, NotFingerprinted] = Field(3, ge=1)
    """Attempts before the judge is given up."""
    parallel: Annotated[int, NotFingerprinted] = Field(8, ge=1)
    """Requests at a time."""

    def verdicts(self, cases: Sequence[Case]) -> list[bool | None]:
        """Whether each answer agrees with its target; None where the judge said neither yes nor no.

        UserError if the endpoint does not answer or refuses.
        """
        with ThreadPoolExecutor(self.parallel) as pool:
            return list(pool.map(self._verdict, cases))

    def _verdict(self, case: Case) -> bool | None:
        body = request(self.model, case)
        path = self.cache / f"{hashlib.sha256(canonical(body).encode()).hexdigest()}.json"
        if path.is_file():
            return said(json.loads(path.read_text())["reply"])
        reply = self._ask(body)
        _keep(path, {"request": body, "reply": reply})
        return said(reply)

    def _ask(self, body: JsonValue) -> str:
        headers = {"Content-Type": "application/json"}
        if secret := os.environ.get(self.key):
            headers["Authorization"] = f"Bearer {secret}"
        asked = urllib.request.Request(
            f"{self.url.rstrip('/')}/chat/completions", json.dumps(body).encode(), headers, method="POST"
        )
        for attempt in range(1, self.tries + 1):
            try:
                with urllib.request.urlopen(asked, timeout=self.seconds) as response:
                    return _content(json.load(response))
            except (OSError, ValueError, LookupError, TypeError) as error:
                if attempt == self.tries or (isinstance(error, urllib.error.HTTPError) and error.code not in PASSING):
                    raise UserError(f"the judge at {self.url} gave no verdict ({error}): see evaluate.judge.") from None
                time.sleep(2 ** (attempt - 1) / 2)
        raise AssertionError("there is at least one try")


def request(model: str, case: Case) -> dict[str, JsonValue]:
    """What is sent: the same case and model are the same bytes."""
    told = f"Question: {case.question}\nRight answer: {case.target}\nAnswer: {case.answer}"
    messages: list[JsonValue] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": told}]
    return {"model": model, "messages": messages, "temperature": 0, "seed": 0, "max_tokens": 8}


def said(reply: str) -> bool | None:
    """A reply's verdict."""
    return {"yes": True, "no": False}.get(reply.strip().strip("\"'*.!").lower())


def _content(answer: Any) -> str:
    return str(answer["choices"][0]["message"]["content"] or "")


def _keep(path: Path, held: JsonValue) -> None:
    """Written beside and moved into place: another process may read it at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}-{time.monotonic_ns()}")
    part.write_text(json.dumps(held, ensure_ascii=False, indent=1))
    part.replace(path)
