"""An LLM judge: a second opinion on answers, from an endpoint that speaks OpenAI's chat completions.

The judge's score is reported beside the grader's score and never replaces it. The model is named, the temperature is 0,
and every reply is cached in a folder under the hash of its request, so that a score can be reproduced without the
endpoint. The judge compares an answer with the target; it gets neither the picture nor the reasoning, which could
persuade it.
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
TRANSIENT = (408, 429, 500, 502, 503, 504)
"""HTTP status codes after which the request is repeated."""
REQUEST_ERRORS = (OSError, ValueError, LookupError, TypeError)
"""Errors of the connection, or of a reply in another format."""


@dataclass(frozen=True)
class Case:
    """One answer for the judge to compare with the target."""

    question: str
    answer: str
    target: str


class JudgeConfig(Settings):
    """The LLM judge: its model and its endpoint."""

    model: str = Field(min_length=1)
    """The model's name and version at the endpoint. Give a dated version: an undated name changes its model."""
    url: Annotated[str, NotFingerprinted] = "http://127.0.0.1:8000/v1"
    """The endpoint's address, without `/chat/completions`."""
    cache: Annotated[Path, NotFingerprinted] = Path(".cache/judge")
    """Folder of the cached replies."""
    key: Annotated[str, NotFingerprinted] = "OPENAI_API_KEY"
    """Environment variable that holds the endpoint's key. No key is sent if the variable is not set."""
    seconds: Annotated[float, NotFingerprinted] = Field(60.0, gt=0)
    """Time limit of a request."""
    tries: Annotated[int, NotFingerprinted] = Field(3, ge=1)
    """Attempts a request."""
    parallel: Annotated[int, NotFingerprinted] = Field(8, ge=1)
    """Requests at a time."""

    def verdicts(self, cases: Sequence[Case]) -> list[bool | None]:
        """Whether each answer agrees with its target; None if the judge replied neither yes nor no.

        UserError if the endpoint does not answer or refuses the request.
        """
        with ThreadPoolExecutor(self.parallel) as pool:
            return list(pool.map(self._verdict, cases))

    def _verdict(self, case: Case) -> bool | None:
        body = request_body(self.model, case)
        path = self.cache / f"{hashlib.sha256(canonical(body).encode()).hexdigest()}.json"
        if path.is_file():
            return parse_verdict(json.loads(path.read_text())["reply"])
        reply = self._reply(body)
        _write(path, {"request": body, "reply": reply})
        return parse_verdict(reply)

    def _reply(self, body: JsonValue) -> str:
        """The judge's reply. Transient errors are retried after 0.5 s, 1 s, 2 s, ..."""
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

        attempts = Retrying(
            stop=stop_after_attempt(self.tries),
            wait=wait_exponential(multiplier=0.5),
            retry=retry_if_exception(_is_transient),
            reraise=True,
        )
        try:
            return attempts(self._post, body)
        except REQUEST_ERRORS as error:
            raise UserError(f"the judge at {self.url} gave no verdict ({error}): see evaluate.judge.") from None

    def _post(self, body: JsonValue) -> str:
        headers = {"Content-Type": "application/json"}
        if secret := os.environ.get(self.key):
            headers["Authorization"] = f"Bearer {secret}"
        url = f"{self.url.rstrip('/')}/chat/completions"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
        with urllib.request.urlopen(request, timeout=self.seconds) as response:
            return _content(json.load(response))


def request_body(model: str, case: Case) -> dict[str, JsonValue]:
    """The JSON of a request. It depends on the model and the case only, because its hash names the cached reply."""
    text = f"Question: {case.question}\nRight answer: {case.target}\nAnswer: {case.answer}"
    messages: list[JsonValue] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
    return {"model": model, "messages": messages, "temperature": 0, "seed": 0, "max_tokens": 8}


def parse_verdict(reply: str) -> bool | None:
    """The verdict of a reply; None for anything but yes or no."""
    return {"yes": True, "no": False}.get(reply.strip().strip("\"'*.!").lower())


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code in TRANSIENT
    return isinstance(error, REQUEST_ERRORS)


def _content(response: Any) -> str:
    return str(response["choices"][0]["message"]["content"] or "")


def _write(path: Path, content: JsonValue) -> None:
    """Write a file beside its place and move it there, because another process may read it at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}-{time.monotonic_ns()}")
    temporary.write_text(json.dumps(content, ensure_ascii=False, indent=1))
    temporary.replace(path)
