"""The language model of a Qwen2.5-VL, laid out for sampling: prompts are read once, then one token a row and step.

Its weights come from a loaded model (plain or with an active PEFT LoRA). Departures from transformers' forward pass:

1. In float32, weights are a copy with the adapter merged (exact up to rounding), and q, k, v and gate, up are one
   product each: on a small model the number of kernels counts more than arithmetic.
2. In lower precision nothing is copied and the adapter stays unmerged: merging into bf16 rounds small updates away.
3. A prompt's keys and values are stored once and shared by its n completions: a step reads them once a request.
4. Keys are stored transposed, (..., D, length): the small products of a step are 2-4 times faster on a CPU.

Shapes: R requests, B rows (completions), H heads, K key/value heads, G = H / K, D head size, C width, P prompt length,
L tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.settings.errors import UserError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Linear:
    """A linear map x W^T + b, plus x down^T up^T of an unmerged LoRA (`up` includes the LoRA's scaling)."""

    weight: torch.Tensor
    bias: torch.Tensor | None = None
    down: torch.Tensor | None = None
    up: torch.Tensor | None = None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        from torch.nn.functional import linear

        y = linear(x, self.weight, self.bias)
        return y if self.down is None or self.up is None else y + linear(linear(x, self.down), self.up)


@dataclass(frozen=True)
class Projections:
    """Several linear maps of one input, their outputs concatenated. In float32 they are fused into one part."""

    parts: tuple[Linear, ...]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        import torch

        return self.parts[0](x) if len(self.parts) == 1 else torch.cat([part(x) for part in self.parts], -1)


@dataclass(frozen=True)
class Norm:
    """RMS normalisation over the last dimension."""

    weight: torch.Tensor
    eps: float

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        from torch.nn.functional import rms_norm

        return rms_norm(x, (x.shape[-1],), self.weight, self.eps)


@dataclass(frozen=True)
class Layer:
    """The weights of one decoder layer."""

    before_attention: Norm
    qkv: Projections
    out: Linear
    before_mlp: Norm
    gate_up: Projections
    down: Linear
    activation: Callable[[torch.Tensor], torch.Tensor]

    def mlp(self, x: torch.Tensor) -> torch.Tensor:
        """The gated feed-forward part, residual added: (..., C) -> (..., C)."""
        gate, up = self.gate_up(self.before_mlp(x)).chunk(2, -1)
        return x + self.down(self.activation(gate) * up)


@dataclass
class PromptCache:
    """The prompts' keys (R, K, D, P) and values (R, K, P, D), one pair a layer; `bias` (R, 1, 1, P) hides padding."""

    keys: list[torch.Tensor]
    values: list[torch.Tensor]
    bias: torch.Tensor


@dataclass
class CompletionCache:
    """The completions' keys (B, K, D, capacity) and values (B, K, capacity, D), one pair a layer.

    Attention to the prompts needs rows grouped by request: a grid of R x `width` rows. `slot` (B,) is a row's place in
    that grid; None when the rows fill it in order. `length` columns are in use.
    """

    keys: list[torch.Tensor]
    values: list[torch.Tensor]
    slot: torch.Tensor | None
    width: int
    length: int = 0


class Decoder:
    """A language model's forward pass: `prefill` for whole prompts, `step` for one token a row."""

    def __init__(self, model: Any) -> None:
        """`model`: a Qwen2_5_VLForConditionalGeneration or a PeftModel around one, with its adapter active.

        `UserError` for sliding-window attention, for LoRA on other than linear layers, and for variants of LoRA.
        """
        import torch

        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        text = base.model.language_model
        if text.has_sliding_layers:
            raise UserError("the transformers engine does not support sliding-window attention: set engine.kind=vllm")
        config = text.config
        self.heads = int(config.num_attention_heads)
        self.kv_heads = int(config.num_key_value_heads)
        self.head_size = int(config.hidden_size) // self.heads
        self.embedding: torch.Tensor = text.embed_tokens.weight.detach()
        self._head = to_linear(base.lm_head)
        self._placeholders = torch.tensor(
            [base.config.image_token_id, base.config.video_token_id], device=self.embedding.device
        )
        self.norm = _to_norm(text.norm)
        self.layers = [_to_layer(layer) for layer in text.layers]
        self._rotary = text.rotary_emb

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embedding.device

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """Token ids (...) to embeddings (..., C)."""
        from torch.nn.functional import embedding

        return embedding(tokens, self.embedding)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Next-token logits (R, V) of normed states (R, C); -inf for image and video placeholders.

        A sampled placeholder, read back as part of a text, would stand for a picture that does not exist.
        """
        return self._head(x).index_fill_(-1, self._placeholders, float("-inf"))

    def rotation(self, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and signed sine (R, L, D) of positions (3, R, L): time, height and width of M-RoPE."""
        import torch

        cosine, sine = self._rotary(self.embedding, positions)
        half = self.head_size // 2
        return cosine, torch.cat((-sine[..., :half], sine[..., half:]), -1)

    def prefill(
        self, embeds: torch.Tensor, positions: torch.Tensor, lengths: torch.Tensor, prompts: PromptCache, rows: slice
    ) -> torch.Tensor:
        """Writes keys and values of right-padded prompts into `prompts[rows]`; returns the last token's logits (R, V).

        `embeds` (R, P, C), `positions` (3, R, P), `lengths` (R,), for the R requests in `rows`.
        """
        from torch.nn.functional import scaled_dot_product_attention

        count, length, _ = embeds.shape
        cosine, sine = (part[:, None] for part in self.rotation(positions))
        x = embeds
        for index, layer in enumerate(self.layers):
            heads = layer.qkv(layer.before_attention(x)).view(count, length, -1, self.head_size).transpose(1, 2)
            turned = _rotate(heads[:, : self.heads + self.kv_heads], cosine, sine)
            query, key = turned.tensor_split((self.heads,), 1)
            value = heads[:, self.heads + self.kv_heads :]
            mixed = scaled_dot_product_attention(
                query, key, value, is_causal=True, enable_gqa=self.heads != self.kv_heads
            )
            x = x + layer.out(mixed.transpose(1, 2).reshape(count, length, -1))
            x = layer.mlp(x)
            prompts.keys[index][rows, :, :, :length] = key.transpose(-1, -2)
            prompts.values[index][rows, :, :length] = value
        last = x.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, x.shape[-1]))[:, 0]
        return self.logits(self.norm(last))

    def step(
        self,
        tokens: torch.Tensor,
        cosine: torch.Tensor,
        sine: torch.Tensor,
        prompts: PromptCache,
        rows: CompletionCache,
    ) -> torch.Tensor:
        """Appends one token a row (B,) at rotations (B, 1, D) to the cache `rows`; returns the next logits (B, V)."""
        count = tokens.shape[0]
        x = self.embed(tokens)
        turned_heads = self.heads + self.kv_heads
        for index, layer in enumerate(self.layers):
            heads = layer.qkv(layer.before_attention(x)).view(count, -1, self.head_size)
            turned = _rotate(heads[:, :turned_heads], cosine, sine)
            rows.keys[index][:, :, :, rows.length] = turned[:, self.heads :]
            rows.values[index][:, :, rows.length] = heads[:, turned_heads:]
            query = (turned[:, : self.heads] * self.head_size**-0.5).view(count, self.kv_heads, -1, self.head_size)
            mixed = self._attend(query, prompts, rows, index)
            x = x + layer.out(mixed.reshape(count, -1))
            x = layer.mlp(x)
        rows.length += 1
        return self.logits(self.norm(x))

    def _attend(self, query: torch.Tensor, prompts: PromptCache, rows: CompletionCache, index: int) -> torch.Tensor:
        """Attention of scaled queries (B, K, G, D) to their prompts and own tokens in layer `index`: (B, K, G, D).

        Scores of the prompt and of the own tokens come from separate products and share one softmax.
        """
        import torch

        length = rows.length + 1
        prompt_scores = _product(_to_grid(query, prompts, rows), prompts.keys[index]).add_(prompts.bias)
        prompt_scores = _to_rows(prompt_scores, rows)
        own_scores = _product(query, rows.keys[index][..., :length])
        weights = torch.cat((prompt_scores, own_scores), -1).softmax(-1)
        prompt_weights, own_weights = weights.tensor_split((prompt_scores.shape[-1],), -1)
        from_prompt = _to_rows(_product(_to_grid(prompt_weights, prompts, rows), prompts.values[index]), rows)
        return _product(own_weights, rows.values[index][:, :, :length]).add_(from_prompt)


def _product(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The matrix products (N, K, ., .) of two stacks, without the copies that `matmul` makes of sliced caches."""
    return x.flatten(0, 1).bmm(y.flatten(0, 1)).view(*x.shape[:3], y.shape[3])


def _to_grid(x: torch.Tensor, prompts: PromptCache, rows: CompletionCache) -> torch.Tensor:
    """Rows (B, K, G, X) grouped by request: (R, K, width * G, X). Empty places of the grid are zero."""
    _, kv_heads, group, size = x.shape
    requests = len(prompts.bias)
    if rows.slot is not None:
        x = x.new_zeros(requests * rows.width, kv_heads, group, size).index_copy_(0, rows.slot, x)
    return x.view(requests, rows.width, kv_heads, group, size).transpose(1, 2).reshape(requests, kv_heads, -1, size)


def _to_rows(grid: torch.Tensor, rows: CompletionCache) -> torch.Tensor:
    """The inverse of `_to_grid`: (R, K, width * G, X) back to (B, K, G, X)."""
    requests, kv_heads, members, size = grid.shape
    x = grid.view(requests, kv_heads, rows.width, members // rows.width, size).transpose(1, 2)
    x = x.reshape(requests * rows.width, kv_heads, -1, size)
    return x if rows.slot is None else x.index_select(0, rows.slot)


def _rotate(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Rotary embedding of x (..., D) by the cosine and signed sine of `Decoder.rotation`."""
    half = x.shape[-1] // 2
    return (x * cosine).addcmul_(x.roll(half, -1), sine)


def _to_layer(layer: Any) -> Layer:
    """The weights of a transformers decoder layer."""
    attention, mlp = layer.self_attn, layer.mlp
    return Layer(
        before_attention=_to_norm(layer.input_layernorm),
        qkv=_to_projections(attention.q_proj, attention.k_proj, attention.v_proj),
        out=to_linear(attention.o_proj),
        before_mlp=_to_norm(layer.post_attention_layernorm),
        gate_up=_to_projections(mlp.gate_proj, mlp.up_proj),
        down=to_linear(mlp.down_proj),
        activation=mlp.act_fn,
    )


def _to_norm(module: Any) -> Norm:
    return Norm(module.weight.detach(), float(module.variance_epsilon))


def _to_projections(*modules: Any) -> Projections:
    """The linear maps of several modules with one input: one fused map in float32, separate ones otherwise."""
    import torch

    parts = tuple(to_linear(module) for module in modules)
    if parts[0].weight.dtype != torch.float32:
        return Projections(parts)
    biases = [part.bias for part in parts if part.bias is not None]
    return Projections((Linear(torch.cat([part.weight for part in parts]), torch.cat(biases) if biases else None),))


def to_linear(module: Any) -> Linear:
    """The linear map of an `nn.Linear` or of PEFT's LoRA around one: merged in float32, unmerged otherwise."""
    import torch

    base = module.get_base_layer() if hasattr(module, "get_base_layer") else module
    if not isinstance(base, torch.nn.Linear):
        raise UserError(f"the transformers engine supports LoRA on linear layers only, not on {type(base).__name__}")
    weight = base.weight.detach()
    bias = None if base.bias is None else base.bias.detach()
    names = [] if base is module or module.disable_adapters or module.merged else module.active_adapters
    names = [name for name in names if name in module.lora_A]
    if any(name in module.lora_variant for name in names):
        raise UserError(
            "the transformers engine supports plain LoRA only: train the adapter without use_dora or other variants"
        )
    if not names:
        return Linear(weight, bias)
    if weight.dtype == torch.float32:
        for name in names:
            weight = weight + module.get_delta_weight(name).detach()
        return Linear(weight, bias)
    down = torch.cat([module.lora_A[name].weight.detach() for name in names]).to(weight.dtype)
    up = torch.cat([module.lora_B[name].weight.detach() * module.scaling[name] for name in names], -1)
    return Linear(weight, bias, down, up.to(weight.dtype))
