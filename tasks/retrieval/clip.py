"""Embed pictures and texts as vectors of one space, by open_clip.

A model is a name that open_clip knows with a pretrained tag (`ViT-SO400M-16-SigLIP2-256` and `webli`), or
`hf-hub:<repository>`, or `local-dir:<folder>`. open_clip 3.3 reads a local folder as

    open_clip_config.json          {"model_cfg": {embed_dim, vision_cfg, text_cfg}, "preprocess_cfg": {mean, std, ...}}
    open_clip_model.safetensors    the weights
    tokenizer.json, tokenizer_config.json    a transformers tokenizer, which adds the start and end tokens itself

`save_clip` writes such a folder. The tokenizer is read from the folder if `text_cfg.hf_tokenizer_name` is set at all
(its value does not matter), else CLIP's own is taken. `text_cfg.tokenizer_kwargs.clean` says how texts are normalised
(`lower`, `canonicalize`, `whitespace`); `text_cfg.pool_type: eos` needs `eos_id` to be the tokenizer's, and the default
`argmax` needs the end token to have the highest id.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from cachetools import LRUCache
from platformdirs import user_cache_path
from pydantic import Field

from tasks.execution.device import Visitor, device_of
from tasks.settings.base import Settings
from tasks.settings.errors import UserError, first_line
from tasks.settings.fingerprint import NotFingerprinted, digest, file_sha256
from tasks.settings.overlay import ROOT
from tasks.store.files import Files

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from PIL import Image

LOCAL = "local-dir:"
QUERY_CACHE_BYTES = 64 << 20
T = TypeVar("T")


class Clip(Settings):
    """The open_clip model that embeds pictures and texts, and how it runs."""

    model: Annotated[str, NotFingerprinted] = "local-dir:infra/models/clip"
    """open_clip's name, `hf-hub:...` or `local-dir:...`; a relative folder starts at the repository's root. The model
    enters fingerprints by its weights, not by its name."""
    pretrained: Annotated[str | None, NotFingerprinted] = None
    """Tag of the weights for a plain name, such as `webli`."""
    batch: Annotated[int, NotFingerprinted] = Field(default=64, ge=1)
    """Pictures or texts in one forward pass."""
    device: Annotated[str, NotFingerprinted] = "auto"
    """`cpu`, `cuda`, ... ; `auto` takes a GPU where there is one."""
    threads: Annotated[int | None, NotFingerprinted] = Field(default=None, ge=1)
    """CPU threads while embedding; None leaves torch's setting."""

    def open(self) -> Embedder:
        """The loaded model; each model is loaded once a process. UserError where it cannot be loaded."""
        return _opened(self)

    @property
    def space(self) -> EmbeddingSpace:
        """The model's embedding space. For a folder that was loaded on this machine before, no model is loaded."""
        return _space(self)


class EmbeddingSpace(Settings):
    """The space of a model's vectors. Only vectors of the same space can be compared."""

    fingerprint: str
    """Digest of all that decides the vectors: weights, preprocessing of pictures, normalisation of texts."""
    dimensions: int


@dataclass(frozen=True)
class Embedder:
    """A loaded model. Its vectors have unit length, so their inner product is the cosine.

    It is on a GPU only while it embeds: an engine or a trainer needs the memory at other times.
    """

    config: Clip
    space: EmbeddingSpace
    _model: Visitor
    _preprocess: Preprocess
    _tokenize: Any
    _lower: bool
    """Whether texts are lower-cased here: the tower was trained on lower-case text, the tokenizer keeps case."""

    def fit(self, image: Image.Image) -> Image.Image:
        """Resize an RGB picture to the model's size. `embed_images` does the same; here callers may use threads."""
        return self._preprocess.fit(image)

    def embed_images(self, images: Iterable[Image.Image]) -> NDArray[np.float16]:
        """Embed n pictures as float16 [n, d]; memory holds one batch of pictures at a time."""
        import numpy as np

        with self._model.visit():
            batches = [self._embed_images(batch) for batch in _batches(images, self.config.batch)]
        return np.concatenate(batches) if batches else np.empty((0, self.space.dimensions), np.float16)

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed n texts as float32 [n, d]; texts are cut to the tower's context length."""
        import numpy as np

        with self._model.visit():
            batches = [self._embed_texts(batch) for batch in _batches(texts, self.config.batch)]
        return np.concatenate(batches) if batches else np.empty((0, self.space.dimensions), np.float32)

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Like `embed_texts`, but cached, since the Searcher repeats many queries; a repeated text is embedded once."""
        import numpy as np

        known = self._cached(texts)
        new = [text for text in dict.fromkeys(texts) if text not in known]
        known |= dict(zip(new, self.embed_texts(new), strict=True))
        with _cache_lock:
            for text in new:
                # a copy: a row of a batch would keep the whole batch
                _query_vectors[self.space.fingerprint, text] = known[text].copy()
        return np.stack([known[text] for text in texts]) if texts else np.empty((0, self.space.dimensions), np.float32)

    def _cached(self, texts: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        with _cache_lock:
            vectors = {text: _query_vectors.get((self.space.fingerprint, text)) for text in dict.fromkeys(texts)}
        return {text: vector for text, vector in vectors.items() if vector is not None}

    def _embed_images(self, images: list[Image.Image]) -> NDArray[np.float16]:
        import numpy as np

        pixels = self._preprocess(images)
        with _inference(self.config.threads):
            vectors = self._model.model.encode_image(pixels.to(self._model.device), normalize=True)
        return vectors.float().cpu().numpy().astype(np.float16)  # type: ignore[no-any-return]

    def _embed_texts(self, texts: list[str]) -> NDArray[np.float32]:
        tokens = self._tokenize([text.lower() for text in texts] if self._lower else texts)
        with _inference(self.config.threads):
            vectors = self._model.model.encode_text(tokens.to(self._model.device), normalize=True)
        return vectors.float().cpu().numpy()  # type: ignore[no-any-return]


def vector_cache(max_bytes: int) -> LRUCache[tuple[str, str], NDArray[np.float32]]:
    """A cache of vectors by (fingerprint of the space, text) that drops the least recently used ones."""
    return LRUCache(max_bytes, getsizeof=lambda vector: vector.nbytes)


_query_vectors = vector_cache(QUERY_CACHE_BYTES)
_cache_lock = Lock()


class Preprocess:
    """open_clip's transform of pictures, with its last steps done a batch at a time.

    The geometry (resize, crop, RGB) is open_clip's own, picture by picture. Scaling to 0..1 and normalising are the
    same float32 operations on a whole batch, so the pixels are equal to open_clip's bit for bit.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        from open_clip.transform import PreprocessCfg, image_transform_v2

        self.whole = image_transform_v2(PreprocessCfg(**settings), is_train=False)
        *self.geometry, _, normalize = self.whole.transforms
        self.mean, self.std = normalize.mean, normalize.std

    def __call__(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """float32 [n, 3, height, width] of RGB pictures."""
        import numpy as np
        import torch

        pixels = torch.from_numpy(np.stack([np.asarray(self.fit(image)) for image in images]))
        scaled = pixels.permute(0, 3, 1, 2).contiguous().to(torch.float32).div_(255)
        return scaled.sub_(_channels(self.mean)).div_(_channels(self.std))

    def fit(self, image: Image.Image) -> Image.Image:
        """Resize a picture to the model's size; a picture that has the size already stays as it is."""
        for step in self.geometry:
            image = step(image)
        return image


def save_clip(
    folder: Path, model: torch.nn.Module, model_cfg: dict[str, Any], preprocess_cfg: dict[str, Any], tokenizer: Any
) -> None:
    """Write a folder that `local-dir:` reads. `tokenizer` is a transformers tokenizer, or None for CLIP's own.

    The model was built by `open_clip.CLIP(**model_cfg)`. `preprocess_cfg` sets mean, std, interpolation and resize_mode
    where they differ from open_clip's defaults. Texts are lower-cased unless `model_cfg` says otherwise.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    text = dict(model_cfg["text_cfg"])
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
        text = {"hf_tokenizer_name": "this folder", "tokenizer_kwargs": {"clean": "lower"}} | text
    config = {"model_cfg": {**model_cfg, "text_cfg": text}, "preprocess_cfg": preprocess_cfg}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")


@lru_cache(maxsize=2)
def _opened(config: Clip) -> Embedder:
    import open_clip

    name = _name(config.model)
    try:
        model = open_clip.create_model(
            name, config.pretrained, device="cpu", require_pretrained=True, pretrained_text=False
        )
        tokenizer = open_clip.get_tokenizer(name)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"embedding model {config.model} cannot be loaded: {first_line(error)}") from error
    model.eval()
    if not all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values() if tensor.is_floating_point()):
        raise UserError(
            f"embedding model {config.model} has weights that are no numbers (NaN or infinite): save it again."
        )
    lower = _keeps_case(tokenizer) and _is_siglip(name)
    settings = dict(model.visual.preprocess_cfg)
    parts = {"weights": _weights_digest(model), "preprocess": settings, "texts": _text_settings(tokenizer, lower)}
    space = EmbeddingSpace(fingerprint=digest(parts), dimensions=_embedding_dimensions(model, tokenizer))
    visitor = Visitor(model, device_of(config.device))
    return Embedder(config, space, visitor, Preprocess(settings), tokenizer, lower)


@lru_cache(maxsize=2)
def _space(config: Clip) -> EmbeddingSpace:
    file = _space_file(_name(config.model))
    if file is None:
        return config.open().space
    with suppress(OSError, ValueError):  # missing or damaged: load the model
        return EmbeddingSpace.model_validate_json(file.read_text())
    space = config.open().space
    with suppress(OSError):  # not written: the next process loads the model again
        Files(str(file.parent)).replace(str(file), space.model_dump_json().encode())
    return space


def _space_file(name: str) -> Path | None:
    """Cache file for the space of a local folder's model, named by the folder's contents and the code that reads it."""
    if not name.startswith(LOCAL):
        return None
    folder = Path(name.removeprefix(LOCAL))
    contents = {file.name: file_sha256(file) for file in folder.iterdir() if file.is_file()}
    readers = {library: version(library) for library in ("open-clip-torch", "transformers", "tokenizers")}
    code = file_sha256(Path(__file__))  # this module decides what enters the fingerprint
    noted = digest({"contents": contents, "code": code, **readers})
    return user_cache_path("active-zero") / "spaces" / f"{noted}.json"


def _name(model: str) -> str:
    """The model's name for open_clip, a local folder made absolute. UserError where the folder holds no model."""
    if not model.startswith(LOCAL):
        return model
    folder = ROOT / Path(model.removeprefix(LOCAL)).expanduser()
    if not (folder / "open_clip_config.json").is_file():
        raise UserError(f"no embedding model in {folder}: put open_clip_config.json and its weights there.")
    return f"{LOCAL}{folder}"


def _weights_digest(model: torch.nn.Module) -> str:
    """sha256 of the weights by name, whatever file they were read from."""
    import torch

    checksum = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        checksum.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        checksum.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return checksum.hexdigest()


def _text_settings(tokenizer: Any, lower: bool) -> dict[str, Any]:
    """The normalisation of texts, described by the tokens of a probe text on which the known normalisations differ."""
    probe = tokenizer(["A  Café's BAR-chart, 3 x_2 &amp; more."])
    return {"lower": lower, "context": int(probe.shape[1]), "probe": probe[0].tolist()}


def _is_siglip(name: str) -> bool:
    """Whether the model is a SigLIP: their text towers were trained on lower-case text, whatever their tokenizers do.

    For a local folder its configuration decides, not the folder's name.
    """
    import open_clip
    from open_clip.factory import _get_hf_config

    schema, _, address = name.rpartition(":")
    if schema == "local-dir":
        config = json.loads((Path(address) / "open_clip_config.json").read_text())["model_cfg"]
    elif schema == "hf-hub":
        config = _get_hf_config(address)["model_cfg"]
    else:
        config = open_clip.get_model_config(name) or {}
    return "siglip" in f"{name if schema != 'local-dir' else ''} {json.dumps(config)}".lower()


def _keeps_case(tokenizer: Any) -> bool:
    upper, lower = tokenizer(["A Red CAT", "a red cat"])
    return bool((upper != lower).any())


def _embedding_dimensions(model: Any, tokenizer: Any) -> int:
    with _inference(None):
        return int(model.encode_text(tokenizer([""]).to(next(model.parameters()).device)).shape[1])


@contextmanager
def _inference(threads: int | None) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(before)


def _channels(values: Sequence[float]) -> torch.Tensor:
    import torch

    return torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1)


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch
