"""Pictures and texts as vectors of one space, by open_clip.

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
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from platformdirs import user_cache_path
from pydantic import Field

from tasks.execution.device import device_of
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
Item = TypeVar("Item")


class Clip(Settings):
    """Which open_clip model embeds, and how it runs."""

    model: Annotated[str, NotFingerprinted] = "local-dir:infra/models/clip"
    """open_clip's name, `hf-hub:...` or `local-dir:...`; a relative folder is looked for from the repository's root. It
    enters fingerprints by its weights, not by its name."""
    pretrained: Annotated[str | None, NotFingerprinted] = None
    """Tag of the weights for a plain name, such as `webli`."""
    batch: Annotated[int, NotFingerprinted] = Field(default=64, ge=1)
    """Pictures or texts embedded at once."""
    device: Annotated[str, NotFingerprinted] = "auto"
    """`cpu`, `cuda`, ... ; `auto` takes a GPU where there is one."""
    threads: Annotated[int | None, NotFingerprinted] = Field(default=None, ge=1)
    """CPU threads while embedding; None leaves torch's setting."""

    def open(self) -> Embedder:
        """The loaded model, once a process. UserError where it cannot be loaded."""
        return _opened(self)

    @property
    def space(self) -> Space:
        """That of the model that `open` loads. For a folder that was loaded here before, nothing heavy is imported."""
        return _space(self)


class Space(Settings):
    """The space of a model's vectors: those of one space compare."""

    fingerprint: str
    """Of the weights, the preprocessing of pictures and the normalisation of texts: what decides the vectors."""
    dimensions: int


@dataclass(frozen=True)
class Embedder:
    """A loaded model. Vectors are of unit length, so that their inner product is the cosine."""

    config: Clip
    space: Space
    _model: Any
    _preprocess: Preprocess
    _tokenize: Any
    _lower: bool
    """The text tower was trained on lower-case text, but its tokenizer keeps the case."""

    def fit(self, image: Image.Image) -> Image.Image:
        """An RGB picture at the model's size: what `embed_images` does first, for who has threads to do it."""
        return self._preprocess.fit(image)

    def embed_images(self, images: Iterable[Image.Image]) -> NDArray[np.float16]:
        """float16 [n, d] for n pictures, held in memory a batch at a time."""
        import numpy as np

        batches = [self._embed_images(batch) for batch in _batches(images, self.config.batch)]
        return np.concatenate(batches) if batches else np.empty((0, self.space.dimensions), np.float16)

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 [n, d] for n texts, cut to the tower's context length."""
        import numpy as np

        batches = [self._embed_texts(batch) for batch in _batches(texts, self.config.batch)]
        return np.concatenate(batches) if batches else np.empty((0, self.space.dimensions), np.float32)

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """As `embed_texts`, but each text once, as long as it is remembered: the Searcher asks much again."""
        import numpy as np

        known = {
            text: found
            for text in dict.fromkeys(texts)
            if (found := _queries.get((self.space.fingerprint, text))) is not None
        }
        new = [text for text in dict.fromkeys(texts) if text not in known]
        known |= dict(zip(new, self.embed_texts(new), strict=True))
        for text, vector in known.items():
            _queries.put((self.space.fingerprint, text), vector)
        return np.stack([known[text] for text in texts]) if texts else np.empty((0, self.space.dimensions), np.float32)

    def _embed_images(self, images: list[Image.Image]) -> NDArray[np.float16]:
        import numpy as np

        pixels = self._preprocess(images)
        with _inference(self.config.threads):
            vectors = self._model.encode_image(pixels.to(self._device), normalize=True)
        return vectors.float().cpu().numpy().astype(np.float16)  # type: ignore[no-any-return]

    def _embed_texts(self, texts: list[str]) -> NDArray[np.float32]:
        tokens = self._tokenize([text.lower() for text in texts] if self._lower else texts)
        with _inference(self.config.threads):
            vectors = self._model.encode_text(tokens.to(self._device), normalize=True)
        return vectors.float().cpu().numpy()  # type: ignore[no-any-return]

    @property
    def _device(self) -> torch.device:
        return next(self._model.parameters()).device  # type: ignore[no-any-return]


class Remembered:
    """Vectors by the model's fingerprint and the text; of too many bytes those go that were not asked for longest."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.bytes = 0
        self._vectors: OrderedDict[tuple[str, str], NDArray[np.float32]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._vectors)

    def get(self, key: tuple[str, str]) -> NDArray[np.float32] | None:
        """The vector, if it is remembered."""
        return self._vectors.get(key)

    def put(self, key: tuple[str, str], vector: NDArray[np.float32]) -> None:
        """Remember the vector as the latest one."""
        with self._lock:
            old = self._vectors.pop(key, None)
            self._vectors[key] = vector.copy()  # a row of a batch would keep the whole batch
            self.bytes += vector.nbytes - (0 if old is None else old.nbytes)
            while self.bytes > self.most_bytes:
                self.bytes -= self._vectors.popitem(last=False)[1].nbytes


_queries = Remembered(64 << 20)


class Preprocess:
    """open_clip's transform of pictures, its last part done a batch at a time.

    The geometry (resize, crop, RGB) is open_clip's own, picture by picture. Scaling to 0..1 and normalising are the
    same float32 operations on a whole batch, so the pixels are equal to the bit.
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
        """At the model's size; a picture that has it already stays as it is."""
        for step in self.geometry:
            image = step(image)
        return image


def save_clip(
    folder: Path, model: torch.nn.Module, model_cfg: dict[str, Any], preprocess_cfg: dict[str, Any], tokenizer: Any
) -> None:
    """Write a folder that `local-dir:` reads. `tokenizer` is a transformers tokenizer (or None for CLIP's own).

    `model_cfg` is what the model was built from: `open_clip.CLIP(**model_cfg)`. `preprocess_cfg` holds what differs
    from open_clip's defaults among mean, std, interpolation, resize_mode. Texts are lower-cased unless `model_cfg` says
    otherwise.
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
            name, config.pretrained, device=device_of(config.device), require_pretrained=True, pretrained_text=False
        )
        tokenizer = open_clip.get_tokenizer(name)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"embedding model {config.model} cannot be loaded: {first_line(error)}") from error
    model.eval()
    lower = _keeps_case(tokenizer) and _is_siglip(name)
    settings = dict(model.visual.preprocess_cfg)
    what = {"weights": _weights_digest(model), "preprocess": settings, "texts": _text_settings(tokenizer, lower)}
    space = Space(fingerprint=digest(what), dimensions=_embedding_dimensions(model, tokenizer))
    return Embedder(config, space, model, Preprocess(settings), tokenizer, lower)


@lru_cache(maxsize=2)
def _space(config: Clip) -> Space:
    kept = _kept_space(_name(config.model))
    if kept is None:
        return config.open().space
    with suppress(OSError, ValueError):  # not noted, or not whole: it is looked at again
        return Space.model_validate_json(kept.read_text())
    space = config.open().space
    with suppress(OSError):  # it is looked at again the next time
        Files(str(kept.parent)).replace(str(kept), space.model_dump_json().encode())
    return space


def _kept_space(name: str) -> Path | None:
    """Where the space of a local folder's model is noted: by the folder's contents and all that reads it."""
    if not name.startswith(LOCAL):
        return None
    folder = Path(name.removeprefix(LOCAL))
    contents = {file.name: file_sha256(file) for file in folder.iterdir() if file.is_file()}
    readers = {library: version(library) for library in ("open-clip-torch", "transformers", "tokenizers")}
    code = file_sha256(Path(__file__))  # what a fingerprint is made of
    noted = digest({"contents": contents, "code": code, **readers})
    return user_cache_path("active-zero") / "spaces" / f"{noted}.json"


def _name(model: str) -> str:
    """`local-dir:` with a folder that exists; UserError where it does not."""
    if not model.startswith(LOCAL):
        return model
    folder = ROOT / Path(model.removeprefix(LOCAL)).expanduser()
    if not (folder / "open_clip_config.json").is_file():
        raise UserError(f"no embedding model in {folder}: open_clip_config.json and its weights belong there.")
    return f"{LOCAL}{folder}"


def _weights_digest(model: torch.nn.Module) -> str:
    """sha256 of the weights by name, whatever file they came from."""
    import torch

    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _text_settings(tokenizer: Any, lower: bool) -> dict[str, Any]:
    """What is done to a text before the tower: shown by the tokens of a text on which the normalisations differ."""
    probe = tokenizer(["A  Café's BAR-chart, 3 x_2 &amp; more."])
    return {"lower": lower, "context": int(probe.shape[1]), "probe": probe[0].tolist()}


def _is_siglip(name: str) -> bool:
    """SigLIP's text towers were trained on lower-case text, whatever their tokenizers do.

    A folder's name says nothing; what the model was built from does.
    """
    import open_clip
    from open_clip.factory import _get_hf_config

    schema, _, at = name.rpartition(":")
    if schema == "local-dir":
        config = json.loads((Path(at) / "open_clip_config.json").read_text())["model_cfg"]
    elif schema == "hf-hub":
        config = _get_hf_config(at)["model_cfg"]
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


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch
