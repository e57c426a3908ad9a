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
The pilot in torch, for training and as the oracle of the numba pilot.

Vision: patch tokens, then local mixing; a grounding head, modulated by the context vector
(FiLM, Perez et al. 2018), scores every token for "is this what was asked for". Policy: a
closed-form continuous-time cell (CfC, Hasani et al. 2022, default mode with one backbone
layer) that takes the true elapsed time.
"""

from pathlib import Path

from edge_vla.checkpoints.safetensors import read_safetensors, take_weight
from edge_vla.exceptions import CheckpointError
from edge_vla.kernels.grounding import MOST, SEEN, USUAL
from edge_vla.language.plan import CONTEXT_SIZE
from edge_vla.policy.liquid import BACKBONE, INPUTS, TIME_UNIT, UNITS
from edge_vla.training.optimise import load
from edge_vla.vision import layout
import torch
from torch import nn, Tensor
import torch.nn.functional as F  # noqa: N812

SLOWEST_FASTEST = -5., .5  # f before softplus, at first


class TernaryConv2d(nn.Conv2d):
    """
    A convolution whose weights are {-1, 0, +1} times one scale per output channel.

    Absmean rounding as in BitNet b1.58 (Ma et al. 2024, eq. 1-3), but by channel; gradients
    pass straight through it.
    """

    quantised = True

    def weights(self) -> Tensor:
        """Return the weights in use, [out, in, k, k]."""
        w = self.weight
        if not self.quantised:
            return w
        scale = w.abs().mean((1, 2, 3), keepdim=True).clamp(min=1e-5)
        return w + ((w / scale).round().clamp(-1, 1) * scale - w).detach()

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weights(), self.bias, self.stride, self.padding)


class PatchEncoder(nn.Module):
    """uint8 frames [N, 72, 96, 3] -> tokens [N, 108, 64]; all but the stem is ternary."""

    def __init__(self) -> None:
        super().__init__()
        c, d = layout.STEM_CHANNELS, layout.CHANNELS
        self.stem = nn.Conv2d(3, c, layout.STEM, layout.STEM)
        self.merge = TernaryConv2d(c, d, 3, 2, 1)
        self.mix = nn.ModuleList(TernaryConv2d(d, d, 3, 1, 1) for _ in range(layout.MIXES))
        self.position = nn.Parameter(torch.randn(layout.TOKENS, d) * .02)
        self.to(memory_format=torch.channels_last)

    def quantise(self, on: bool) -> None:
        """Use ternary weights, or the float ones behind them."""
        for module in self.modules():
            if isinstance(module, TernaryConv2d):
                module.quantised = on

    def forward(self, images: Tensor) -> Tensor:
        x = images.permute(0, 3, 1, 2).float() * (1 / 127.5) - 1
        x = F.relu(self.stem(x))
        x = F.relu(self.merge(x))
        for conv in self.mix:
            x = x + F.relu(conv(x))
        return x.flatten(2).transpose(1, 2) + self.position


class Grounding(nn.Module):
    """Tokens and context -> what the policy needs to know about the picture."""

    def __init__(self) -> None:
        super().__init__()
        d, g = layout.CHANNELS, layout.GROUND_CHANNELS
        self.film = nn.Linear(CONTEXT_SIZE, 2 * g)
        self.hidden = nn.Linear(d, g)
        self.score = nn.Linear(g, 1)
        self.value = nn.Linear(d, layout.VALUE_CHANNELS)
        self.near = nn.Linear(d, 1)
        self.locate = nn.Sequential(nn.Linear(layout.POOLED, 32), nn.ReLU(),
                                    nn.Linear(32, layout.LOCATED))
        self.register_buffer('centres', torch.as_tensor(layout.token_centres()))

    def recognise(self, tokens: Tensor, contexts: Tensor) -> Tensor:
        """Tokens [M, CHANNELS], contexts [P, CONTEXT_SIZE] -> score of each by each [M, P]."""
        scale, shift = self.film(contexts).chunk(2, -1)
        hidden = self.hidden(tokens)[:, None]
        return self.score(F.relu(hidden * (1 + scale) + shift))[..., 0]

    def forward(self, tokens: Tensor, context: Tensor, flying: bool = False,
                only: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """
        Return features [N, VISION_FEATURES], scores [N, TOKENS], nearness [N, TOKENS].

        With `flying` the scores are settled as the numba pilot's are, see `settle`; tokens that
        are not in `only`, bool [TOKENS], show nothing.
        """
        scale, shift = self.film(context)[:, None].chunk(2, -1)
        score = self.score(F.relu(self.hidden(tokens) * (1 + scale) + shift))[..., 0]
        near = F.relu(self.near(tokens)[..., 0])
        score = settle(score) if flying else score
        if only is not None:
            score = score.masked_fill(~only, -torch.inf)
        p = torch.sigmoid(score)
        presence = p.amax(1, keepdim=True)
        weight = p * p / ((p * p).sum(1, keepdim=True) + 1e-3)
        centre = torch.einsum('nt,tc->nc', weight, self.centres)
        spread = (weight * (self.centres[None, :, 0] - centre[:, :1]).abs()).sum(1, keepdim=True)
        area = p.mean(1, keepdim=True)
        values = torch.einsum('nt,ntc->nc', weight, self.value(tokens))
        pooled = torch.cat([presence, centre * presence, spread, area, values * presence], 1)
        located = self.locate(pooled)
        grid = near.view(-1, layout.ROWS, layout.COLUMNS)
        profile = torch.cat([grid[:, :layout.BAND].amax(1), grid[:, layout.BAND:].amax(1)], 1)
        return torch.cat([pooled, located * presence, profile], 1), score, near


def settle(score: Tensor) -> Tensor:
    """
    Where ground resembles the target lower scores [N, TOKENS], and keep one place, others -inf.

    What ``kernels.grounding.ground_level`` and ``focus`` do, written another way.
    """
    low = score[:, layout.COLUMNS * (layout.ROWS // 2):].sort(1).values
    level = (low[:, low.shape[1] // 2, None] - float(USUAL)).clamp(0, float(MOST))
    score = score - level
    p = torch.sigmoid(score)
    seen = (p > float(SEEN)).view(-1, 1, layout.ROWS, layout.COLUMNS)
    names = torch.arange(1., layout.TOKENS + 1).view(1, 1, layout.ROWS, layout.COLUMNS)
    names, before = names * seen, None
    while before is None or not torch.equal(names, before):  # a place takes its largest name
        names, before = F.max_pool2d(names, 3, 1, 1) * seen, names
    place = names.flatten(1).long()
    mass = torch.zeros(len(p), layout.TOKENS + 1).scatter_add_(1, place, p * p)
    mass[:, 0] = 0
    other = (level > 0) & (place > 0) & (place != mass.argmax(1, keepdim=True))
    return score.masked_fill(other, -torch.inf)


class LiquidCell(nn.Module):
    """A backbone layer of input and state, and heads that read it."""

    def __init__(self, inputs: int, units: int, backbone: int, heads: tuple[str, ...]) -> None:
        super().__init__()
        self.backbone = nn.Linear(inputs + units, backbone)
        for name in heads:
            setattr(self, name, nn.Linear(backbone, units))
        for p in self.parameters():
            if p.dim() == 2:
                nn.init.xavier_uniform_(p)

    def hidden(self, x: Tensor, h: Tensor) -> Tensor:
        """X [B, inputs], h [B, units] -> what the heads read [B, backbone]."""
        return 1.7159 * torch.tanh(.666 * self.backbone(torch.cat([x, h], -1)))


class CfCCell(LiquidCell):
    """Closed-form continuous-time cell, default mode (Hasani et al. 2022, eq. 10)."""

    def __init__(self, inputs: int, units: int, backbone: int) -> None:
        super().__init__(inputs, units, backbone, ('ff1', 'ff2', 'time_a', 'time_b'))

    def forward(self, x: Tensor, h: Tensor, dt: Tensor) -> Tensor:
        """X [B, inputs], h [B, units], dt [B, 1] in TIME_UNIT -> new h."""
        z = self.hidden(x, h)
        gate = torch.sigmoid(self.time_a(z) * dt + self.time_b(z))
        return torch.tanh(self.ff1(z)) * (1 - gate) + gate * torch.tanh(self.ff2(z))


class ExactCell(LiquidCell):
    """
    The liquid ODE dh/dt = f (A - h), solved exactly for the f and A of the step's beginning.

    What the cell holds it keeps, and what it adds up it adds up in true time: the default mode
    has to learn either. Mode 'exact' of ``kernels.cfc``.
    """

    def __init__(self, inputs: int, units: int, backbone: int) -> None:
        super().__init__(inputs, units, backbone, ('A', 'f'))
        with torch.no_grad():  # time constants of 15 s to a tenth
            self.f.bias.copy_(torch.linspace(*SLOWEST_FASTEST, units))

    def forward(self, x: Tensor, h: Tensor, dt: Tensor) -> Tensor:
        """X [B, inputs], h [B, units], dt [B, 1] in TIME_UNIT -> new h."""
        z = self.hidden(x, h)
        keep = torch.exp(-F.softplus(self.f(z)) * dt)
        return h * keep + torch.tanh(self.A(z)) * (1 - keep)


class Recurrent(nn.Module):
    """A policy that remembers."""

    head: nn.Linear

    def unroll(self, x: Tensor, dt: Tensor, reset: Tensor,
               h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """X [T, B, INPUTS], dt [T, B] s, reset [T, B] -> what `head` reads [T, B, ...], state."""
        raise NotImplementedError

    def forward(self, x: Tensor, dt: Tensor, reset: Tensor,
                h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As `unroll`, but actions [T, B, 4]."""
        out, h = self.unroll(x, dt, reset, h)
        return self.head(out), h


class LiquidPolicy(Recurrent):
    """
    Features, motion and context -> heading-frame velocity and yaw rate, scaled to ±1.

    Parameters
    ----------
    timed : bool
        False ignores elapsed time: every step counts as `TIME_UNIT` (the ablation).
    cell : type
        Of the cell.

    """

    def __init__(self, timed: bool = True,
                 cell: type[CfCCell] | type[ExactCell] = CfCCell) -> None:
        super().__init__()
        self.timed = timed
        self.cell = cell(INPUTS, UNITS, BACKBONE)
        self.head = nn.Linear(UNITS, 4)

    def initial(self, count: int) -> Tensor:
        """Return the state of `count` flights that begin."""
        return torch.zeros(count, UNITS)

    def unroll(self, x: Tensor, dt: Tensor, reset: Tensor,
               h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As `Recurrent` says: every h [T, B, UNITS]."""
        h = self.initial(x.shape[1]) if h is None else h
        keep = (1 - reset)[..., None]
        t = (dt / TIME_UNIT if self.timed else torch.ones_like(dt))[..., None]
        out = []
        for k in range(x.shape[0]):
            h = self.cell(x[k], h * keep[k], t[k])
            out.append(h)
        return torch.stack(out), h


class PilotNet(nn.Module):
    """
    Encoder, grounding and policy together.

    Parameters
    ----------
    kind : str
        Which policy, a key of ``training.baselines.POLICIES``.

    """

    def __init__(self, kind: str = 'cfc') -> None:
        super().__init__()
        from edge_vla.training.baselines import POLICIES
        self.kind = kind
        self.encoder, self.grounding, self.policy = PatchEncoder(), Grounding(), POLICIES[kind]()
        d = layout.CHANNELS  # read-outs that only shape the features during training
        self.colour, self.shape = nn.Linear(d, 8), nn.Linear(d, 4)

    @torch.no_grad()
    def see(self, images: Tensor, context: Tensor) -> Tensor:
        """Return vision features [N, VISION_FEATURES] without gradients."""
        return self.grounding(self.encoder(images), context)[0]


def initial_weights(path: Path, ternary: bool) -> dict[str, Tensor]:
    """
    Return the weights of another run by name.

    Parameters
    ----------
    path : Path
        Its ``grounding.pt``, or a pilot in the shipped format.
    ternary : bool
        Whether the encoder of a shipped pilot goes on ternary: then its weights are scaled so
        that they round to themselves, else they are what they stand for.

    Raises
    ------
    CheckpointError
        It is missing, corrupt or no pilot.

    """
    if path.suffix != '.safetensors':
        known = load(path)['net']
        if 'encoder.stem.weight' not in known:
            raise CheckpointError(f'{path} is no pilot: give a grounding.pt or policy.safetensors')
        return known
    tensors, known = read_safetensors(path)[0], {}
    for name, shape in ((k, tuple(v.shape)) for k, v in PilotNet().state_dict().items()):
        if name in tensors:
            known[name] = w = torch.from_numpy(take_weight(tensors, name, shape).copy())
            if ternary and f'{name}_scale' in tensors:
                share = (w != 0).float().mean(tuple(range(1, w.dim())), keepdim=True)
                known[name] = w / share.clamp(min=1e-3)
    return known
