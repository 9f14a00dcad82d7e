"""The server engine: OpenAI-compatible servers that run already, such as `vllm serve --enable-lora`.

Requests about one picture go to one server, which then reads it once; where that server fails, to the next. A request
is sent again after a dropped connection, a time-out, 429 or 5xx, with growing pauses, to the same replies: it names all
that decides them. Adapters are loaded at run time under the names of their contents, on every server that needs them,
so servers must see the store's files and run with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True.
"""

from __future__ import annotations

import base64
import io
import logging
import os
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from tasks.engines.architecture import placeholders, read_config
from tasks.engines.model_folder import check_adapter, check_model
from tasks.engines.pictures import PictureBudget
from tasks.engines.protocol import Engine
from tasks.engines.request import Adapter, Completion, Request
from tasks.engines.streams import by_part
from tasks.engines.vllm import TOO_LONG, seed_number
from tasks.settings.base import Settings
from tasks.settings.errors import UserError
from tasks.settings.fingerprint import NotFingerprinted

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)

KEY = "VLLM_API_KEY"
"""The environment variable that holds the servers' key, as `vllm serve` itself reads it."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
"""Seconds before a request is sent again: doubled each time."""


class Server(Settings):
    """Sampling by servers with the OpenAI protocol that serve the run's base model."""

    kind: Literal["server"] = "server"
    urls: Annotated[tuple[str, ...], NotFingerprinted, Field(min_length=1)]
    """The servers' addresses, such as `http://gpu-1:8000`."""
    requests: Annotated[int, NotFingerprinted] = Field(64, ge=1)
    """Requests at once, for each server."""
    timeout: Annotated[float, NotFingerprinted] = Field(600.0, gt=0)
    """Seconds that a request may take."""
    deadline: Annotated[float, NotFingerprinted] = Field(900.0, gt=0)
    """Seconds without any answer after which the stage fails; a retry then resumes it."""

    @property
    def needs_gpu(self) -> bool:
        """See `EngineSettings.needs_gpu`: the servers have them."""
        return False

    @property
    def model_copies(self) -> int:
        """See `EngineSettings.model_copies`: none on this machine."""
        return 0

    @property
    def draws_rollouts(self) -> bool:
        """See `EngineSettings.draws_rollouts`: the trainer samples the model in training."""
        return False

    def open(self, model: str, pictures: PictureBudget) -> ServerEngine:
        """Ask the servers what they serve. `UserError` if one does not answer, or serves no base model."""
        check_model(Path(model))
        return ServerEngine(self, model, pictures)


class ServerFault(Exception):
    """An answer, or none, after which the request is sent again."""


class ServerEngine(Engine):
    """Several servers, as one engine."""

    def __init__(self, config: Server, model: str, pictures: PictureBudget) -> None:
        import httpx

        from tasks.engines.inputs import Encoder, load_processor

        self._config, self._model = config, model
        headers = {"Authorization": f"Bearer {os.environ[KEY]}"} if os.environ.get(KEY) else {}
        limits = httpx.Limits(max_connections=config.requests * len(config.urls))
        self._client = httpx.Client(timeout=config.timeout, headers=headers, limits=limits)
        self._processor = load_processor(model, pictures)
        self._encoder = Encoder(self._processor)
        self._placeholders = placeholders(read_config(model))
        self._loaded: set[tuple[str, Adapter]] = set()
        self._lock = threading.Lock()
        self._failed = threading.Event()
        self._last_answer = time.monotonic()
        self._names = {url: self._until_deadline(partial(self._base_name, url), url) for url in config.urls}

    def generate(
        self, requests: Sequence[Request], on_done: Callable[[int], None] | None = None
    ) -> list[list[Completion]]:
        """See `Engine.generate`. `UserError` if no server has answered for `deadline` seconds."""
        if not requests:
            return []
        ((_, completions),) = self.stream([requests], on_done)
        return completions

    def stream(
        self, parts: Sequence[Sequence[Request]], on_done: Callable[[int], None] | None = None
    ) -> Iterator[tuple[int, list[list[Completion]]]]:
        """See `Engine.stream`: no server waits for the end of a part."""
        return by_part(parts, self._answers([request for part in parts for request in part], on_done))

    def _answers(
        self, requests: Sequence[Request], on_done: Callable[[int], None] | None
    ) -> Iterator[tuple[int, list[Completion]]]:
        """The position and the completions of each request, in the order in which they come."""
        self._last_answer = time.monotonic()
        with ThreadPoolExecutor(self._config.requests * len(self._config.urls)) as pool:
            numbers = {pool.submit(self._complete, request): number for number, request in enumerate(requests)}
            try:
                for future in as_completed(numbers):
                    completions = future.result()
                    if on_done is not None:
                        on_done(len(completions))
                    yield numbers[future], completions
            except BaseException:
                self._failed.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def close(self) -> None:
        """Close the connections; the servers and the adapters on them stay."""
        self._client.close()

    def _complete(self, request: Request) -> list[Completion]:
        """The completions of one request, from the first server that gives them."""
        urls = self._config.urls
        start = 0 if request.picture is None else zlib.crc32(request.picture.key.encode())
        attempt = 0
        while True:
            url = urls[(start + attempt) % len(urls)]
            try:
                completions = self._ask(url, request)
                break
            except ServerFault as fault:
                self._pause(attempt, url, fault)
                attempt += 1
        self._last_answer = time.monotonic()
        return completions

    def _ask(self, url: str, request: Request) -> list[Completion]:
        """One request to one server. `ServerFault` for a failure that may pass."""
        if request.adapter is not None:
            self._load(url, request.adapter)
        name = self._names[url] if request.adapter is None else request.adapter.name
        answer = self._post(url, "v1/chat/completions", self._body(request, name))
        if answer.status_code == 404:  # a server that was started again has lost its adapters
            self._forget(url)
            raise ServerFault(f"{url} does not serve {name}")
        if answer.status_code == 400 and "maximum" in answer.text and "length" in answer.text:
            return [Completion("", 0, finished=False, refused=TOO_LONG)] * request.n
        found = _json(url, answer)
        if found.get("model") != name or len(found.get("choices", ())) != request.n:
            self._forget(url)
            raise ServerFault(f"{url} answered as {found.get('model')}, asked for {name}")
        self._check_prompt(url, request, found)
        return [_completion(choice) for choice in sorted(found["choices"], key=lambda choice: choice["index"])]

    def _body(self, request: Request, name: str) -> dict[str, Any]:
        sampling, prompt = request.sampling, self._encoder.clean(request.prompt)
        content: list[dict[str, Any]] = [{"type": "text", "text": prompt.user}]
        if request.picture is not None:
            content.insert(0, {"type": "image_url", "image_url": {"url": _data_url(request.picture.image)}})
        messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        if prompt.system is not None:
            messages.insert(0, {"role": "system", "content": prompt.system})
        return {
            "model": name,
            "messages": messages,
            "n": request.n,
            "seed": seed_number(request),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "max_tokens": sampling.max_tokens,
            "repetition_penalty": 1.0,  # a published generation_config.json may set another one
            "logit_bias": {str(token): -100.0 for token in self._placeholders},
            "return_token_ids": True,
        }

    def _check_prompt(self, url: str, request: Request, found: dict[str, Any]) -> None:
        """`UserError` if the server reads the prompt as another number of tokens: it has another picture budget."""
        theirs, ours = found["usage"]["prompt_tokens"], self._encoder.length(request.prompt, request.picture)
        if theirs != ours:
            limits = {"min_pixels": "shortest_edge", "max_pixels": "longest_edge"}
            size = self._processor.image_processor.size
            wanted = ", ".join(f'"{name}": {getattr(size, edge, None)}' for name, edge in limits.items())
            raise UserError(
                f"{url} reads a prompt of {ours} tokens as {theirs}: start it with the model {self._model} and "
                f"--mm-processor-kwargs '{{{wanted}}}'"
            )

    def _load(self, url: str, adapter: Adapter) -> None:
        """Load the adapter on a server that has not got it."""
        with self._lock:
            if (url, adapter) in self._loaded:
                return
            check_adapter(adapter)
            body = {"lora_name": adapter.name, "lora_path": str(adapter.path)}
            answer = self._post(url, "v1/load_lora_adapter", body)
            if not answer.is_success and "already" not in answer.text:
                raise UserError(
                    f"{url} cannot load the adapter {adapter.path}: {answer.text[:200]}; it must run with "
                    "--enable-lora, VLLM_ALLOW_RUNTIME_LORA_UPDATING=True and the store's files at the same path"
                )
            self._loaded.add((url, adapter))

    def _forget(self, url: str) -> None:
        """Load adapters anew on this server."""
        with self._lock:
            self._loaded = {(other, adapter) for other, adapter in self._loaded if other != url}

    def _base_name(self, url: str) -> str:
        """The name under which the server has its base model."""
        models = _json(url, self._get(url, "v1/models")).get("data", [])
        names = [str(model["id"]) for model in models if not model.get("parent")]
        if not names:
            raise UserError(f"{url} serves no base model: start it with `vllm serve {self._model} --enable-lora`")
        return names[0]

    def _get(self, url: str, path: str) -> httpx.Response:
        return self._send(url, partial(self._client.get, f"{url.rstrip('/')}/{path}"))

    def _post(self, url: str, path: str, body: dict[str, Any]) -> httpx.Response:
        return self._send(url, partial(self._client.post, f"{url.rstrip('/')}/{path}", json=body))

    def _send(self, url: str, send: Callable[[], httpx.Response]) -> httpx.Response:
        """The server's answer. `ServerFault` if it has none, or is busy or failing; `UserError` for a wrong key."""
        import httpx

        try:
            answer = send()
        except httpx.HTTPError as error:
            raise ServerFault(f"{url}: {type(error).__name__} {error}") from error
        if answer.status_code == 429 or answer.status_code >= 500:
            raise ServerFault(f"{url} answers {answer.status_code}")
        if answer.status_code in (401, 403):
            raise UserError(f"{url} refuses the key: set {KEY} to the servers' key")
        return answer

    def _until_deadline(self, ask: Callable[[], str], url: str) -> str:
        """The answer, asked for until the deadline."""
        attempt = 0
        while True:
            try:
                return ask()
            except ServerFault as fault:
                self._pause(attempt, url, fault)
                attempt += 1

    def _pause(self, attempt: int, url: str, fault: ServerFault) -> None:
        """Wait before the next attempt. `UserError` if nothing has answered until the deadline."""
        silent = time.monotonic() - self._last_answer
        if silent > self._config.deadline:
            raise UserError(
                f"no server has answered for {silent:.0f} s; last: {fault}. Start them, then resume the run."
            )
        log.warning("%s: sent again (attempt %d)", fault, attempt + 2)
        left = max(0.01, self._config.deadline - silent)
        if self._failed.wait(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(attempt, 10), left)):
            raise fault  # another request has failed for good


def _json(url: str, answer: httpx.Response) -> dict[str, Any]:
    """The answer's JSON object. `UserError` for a refused request, `ServerFault` for what is no JSON."""
    if not answer.is_success:
        raise UserError(f"{url} refuses a request: {answer.status_code} {answer.text[:300]}")
    try:
        found = answer.json()
    except ValueError as error:
        raise ServerFault(f"{url} answers what is no JSON") from error
    if not isinstance(found, dict):
        raise ServerFault(f"{url} answers what is no JSON object")
    return found


def _completion(choice: dict[str, Any]) -> Completion:
    text = choice["message"]["content"] or ""
    return Completion(text, len(choice.get("token_ids") or ()), choice["finish_reason"] == "stop")


def _data_url(image: Any) -> str:
    """The upright RGB picture, without loss, so that every server sees what other engines see."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
