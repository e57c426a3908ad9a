# Copyright 2026 The edge_vla authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""
BitNet b1.58 in torch with quantisation-aware training (straight-through estimators).

Same layer as ``language.decoder`` and as transformers' ``modeling_bitnet``: weights absmean
ternary, activations absmax int8 per token, sub-norms before the output and down projections.
"""

from edge_vla.language.config import BitNetConfig
import torch
from torch import nn, Tensor
import torch.nn.functional as F  # noqa: N812


class BitLinear(nn.Linear):
    """Ternary weights, int8 activations; gradients pass straight through the rounding."""

    quantised = True

    def forward(self, x: Tensor) -> Tensor:
        if not self.quantised:
            return super().forward(x)
        scale = 127 / x.abs().amax(-1, keepdim=True).clamp(min=1e-5)
        xq = x + ((x * scale).round().clamp(-128, 127) / scale - x).detach()
        mean = self.weight.abs().mean().clamp(min=1e-5)
        wq = self.weight + ((self.weight / mean).round().clamp(-1, 1) * mean
                            - self.weight).detach()
        return F.linear(xq, wq)


class RMSNorm(nn.Module):
    """``weight * x / sqrt(mean(x^2) + eps)``."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(size)), eps

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


class Attention(nn.Module):
    """
    Causal grouped-query attention with RoPE and a sub-norm.

    Attributes
    ----------
    watched : bool
        Keep `looks`, the logarithm of the first head's attention, float32 [B, T, T], and `found`,
        what it brings back, float32 [B, T, head_dim].

    """

    watched = False

    def __init__(self, c: BitNetConfig) -> None:
        super().__init__()
        d = c.hidden_size
        self.heads, self.kv_heads = c.num_attention_heads, c.num_key_value_heads
        self.q_proj, self.o_proj = BitLinear(d, d, False), BitLinear(d, d, False)
        self.k_proj, self.v_proj = (BitLinear(d, c.kv_size, False) for _ in range(2))
        self.attn_sub_norm = RMSNorm(d, c.rms_norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None = None) -> Tensor:
        b, t, d = x.shape

        def heads(y: Tensor, n: int) -> Tensor:
            return y.view(b, t, n, -1).transpose(1, 2)

        q = rotate(heads(self.q_proj(x), self.heads), cos, sin)
        k = rotate(heads(self.k_proj(x), self.kv_heads), cos, sin)
        v = heads(self.v_proj(x), self.kv_heads)
        k, v = (y.repeat_interleave(self.heads // self.kv_heads, 1) for y in (k, v))
        if self.watched:
            scores = q[:, 0].float() @ k[:, 0].float().transpose(1, 2) * q.shape[-1] ** -.5
            allowed = torch.ones(t, t, dtype=torch.bool).tril() if mask is None else mask[:, 0]
            self.looks = scores.masked_fill(~allowed, -torch.inf).log_softmax(-1)
        with torch.autocast('cpu', enabled=False):  # its bfloat16 gradient is the slower one
            y = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), mask,
                                               is_causal=mask is None)
        if self.watched:
            self.found = y[:, 0]
        return self.o_proj(self.attn_sub_norm(y.transpose(1, 2).reshape(b, t, d)))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """RoPE, half-split convention; x [B, heads, T, H], cos and sin [..., T, H / 2]."""
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class Mlp(nn.Module):
    """Gated squared ReLU with a sub-norm."""

    def __init__(self, c: BitNetConfig) -> None:
        super().__init__()
        d, f = c.hidden_size, c.intermediate_size
        self.gate_proj, self.up_proj = BitLinear(d, f, False), BitLinear(d, f, False)
        self.down_proj, self.ffn_sub_norm = BitLinear(f, d, False), RMSNorm(f, c.rms_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.ffn_sub_norm(F.relu(self.gate_proj(x)).square()
                                                * self.up_proj(x)))


class Layer(nn.Module):
    """Pre-norm attention, pre-norm MLP."""

    def __init__(self, c: BitNetConfig) -> None:
        super().__init__()
        self.self_attn, self.mlp = Attention(c), Mlp(c)
        self.input_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)


class BitNet(nn.Module):
    """
    The decoder with a tied head; parameter names are those of Hugging Face.

    Parameters
    ----------
    config : BitNetConfig
    quantised : bool
        False trains and runs the same network in plain float32 (the baseline).

    """

    def __init__(self, config: BitNetConfig, quantised: bool = True) -> None:
        super().__init__()
        self.config = c = config
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        self.model.layers = nn.ModuleList(Layer(c) for _ in range(c.num_hidden_layers))
        self.model.norm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=.02 if 'embed' in name else p.shape[1] ** -.5)
        self.quantise(quantised)
        inverse = 1 / c.rope_theta ** (torch.arange(0, c.head_dim, 2) / c.head_dim)
        angles = torch.arange(c.max_position_embeddings)[:, None] * inverse[None]
        self.register_buffer('cos', angles.cos(), persistent=False)
        self.register_buffer('sin', angles.sin(), persistent=False)

    def quantise(self, on: bool) -> None:
        """Use ternary weights and 8-bit activations, or the float ones behind them."""
        for module in self.modules():
            if isinstance(module, BitLinear):
                module.quantised = on

    def forward(self, ids: Tensor) -> Tensor:
        """Return next-token logits [B, T, vocab] of token ids [B, T]."""
        return self.logits(self.decode(self.model.embed_tokens(ids)))

    def decode(self, h: Tensor, positions: Tensor | None = None,
               mask: Tensor | None = None) -> Tensor:
        """
        Run the layers.

        Parameters
        ----------
        h : Tensor
            Embedded tokens, float32 [B, T, hidden].
        positions : Tensor, optional
            int64 [B, T], where each is; one after the other by default.
        mask : Tensor, optional
            bool [B, 1, T, T], whom each attends to; all before it by default.

        Returns
        -------
        Tensor
            float32 [B, T, hidden], before the last norm.

        """
        if positions is None:
            cos, sin = self.cos[:h.shape[1]], self.sin[:h.shape[1]]
        else:
            cos, sin = self.cos[positions][:, None], self.sin[positions][:, None]
        for layer in self.model.layers:
            h = h + layer.self_attn(layer.input_layernorm(h), cos, sin, mask)
            h = h + layer.mlp(layer.post_attention_layernorm(h))
        return h

    def logits(self, h: Tensor) -> Tensor:
        """Return logits [..., vocab] of what `decode` left."""
        return F.linear(self.model.norm(h), self.model.embed_tokens.weight)
