"""The imaginator: what a missing sensor's token would be, from the sensors that are there and from what went before.

After the modality-awareness imagination module of CIMSleepNet (Shen et al., NeurIPS 2024), moved into token space and
made causal: a latent shared by the channels that are there, a query for each channel, one decoder for all, a
recurrent memory, and a mean with its variance where the paper draws a sample. It starts out as a channel's last value
that fades into its running mean, and learns what is better than that.

Glossary: B batch, one row a bed; L steps; C channels; D the width of a token. `mask` is 1 where a channel is there and
0 where not; a token where it is not is never read.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hypnostream.models.channel_memory import ChannelMemory, MemoryState
from hypnostream.models.mamba2 import Mamba2, MambaState

MAX_AGE_S = 3600.0  # a channel gone for an hour is gone for good
LOWEST_LOG_VARIANCE, HIGHEST_LOG_VARIANCE = -6.0, 3.0


class Imagined(NamedTuple):
    """`tokens` are the real ones where there are any and imagined ones elsewhere; `mean` and `log_variance` of every
    channel, of meaning where the channel is missing."""

    tokens: Tensor  # (..., C, D)
    mean: Tensor  # (..., C, D)
    log_variance: Tensor  # (..., C) of each element of a token, about its mean


class ImaginatorState(NamedTuple):
    """Everything carried from step to step, float32."""

    memory: MemoryState
    latent: MambaState


class Imaginator(nn.Module):
    """Fills in the tokens of missing channels. `forward` reads a stretch, `step` one element; deterministic in eval.

    `d_latent` is the width of the shared latent, `memory` the length of a channel's running mean in steps, `d_hidden`
    the width of encoder and decoder. A channel costs an embedding, a prior and how fast it fades: the rest is shared.
    """

    def __init__(
        self,
        channels: int,
        d_model: int,
        d_latent: int = 64,
        memory: float = 240.0,
        d_hidden: int = 128,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.channels, self.d_model = channels, d_model
        self.memory = ChannelMemory(memory)
        self.prior = nn.Parameter(torch.zeros(channels, d_model))  # a channel of which nothing is known
        self.log_fade_s = nn.Parameter(torch.full((channels, d_model), math.log(300.0)))

        self.norm = nn.LayerNorm(d_model)
        self.encoder_in = nn.Linear(d_model, d_hidden)
        self.encoder_channel = nn.Parameter(torch.randn(channels, d_hidden) * 0.5)
        self.encoder_out = nn.Linear(d_hidden, d_latent)
        self.nothing = nn.Parameter(torch.randn(d_latent) * 0.1)  # the latent of a step without any sensor
        self.latent_norm = nn.LayerNorm(d_latent)
        headdim = next(size for size in (32, 16, 8, 4, 2, 1) if 2 * d_latent % size == 0)
        self.mixer = Mamba2(d_latent, d_state=16, headdim=headdim)
        # Nobody gives a context: it never learns, and is in no bundle. It stays for what was trained with it: without,
        # weights and checkpoints of finished runs would not fit, and a seed would draw other weights from here on.
        self.context = nn.Linear(d_model, d_latent, bias=False)
        nn.init.zeros_(self.context.weight)

        self.from_latent = nn.Linear(d_latent, d_hidden)
        self.from_memory = nn.Linear(2 * d_model, d_hidden, bias=False)
        self.query = nn.Parameter(torch.randn(channels, d_hidden) * 0.5)
        self.query_age = nn.Parameter(torch.randn(channels, d_hidden) * 0.1)
        self.hidden = nn.Linear(d_hidden, d_hidden)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(d_hidden, d_model + 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

        self.synthetic = nn.Parameter(torch.zeros(d_model))  # what marks a token as imagined
        # Softplus of it is beta of `bias`: at the beginning a token of unit variance counts half of a real one.
        self.distrust = nn.Parameter(torch.tensor(-2.0))

    def initial_state(self, batch: int) -> ImaginatorState:
        """The state before the first step: zeros, which stand for the prior."""
        memory = self.memory.initial_state(batch, self.channels, self.d_model, self.prior)
        return ImaginatorState(memory, self.mixer.initial_state(batch))

    def forward(
        self,
        tokens: Tensor,
        mask: Tensor,
        age_s: Tensor,
        context: Tensor | None = None,
        state: ImaginatorState | None = None,
    ) -> tuple[Imagined, ImaginatorState]:
        """A stretch: tokens (B, L, C, D), mask and age_s (B, L, C) -> `Imagined` of it, and the state after it.

        `age_s` is how long ago a channel was last there, 0 where it is. `context` (B, L, D) is what else is known of a
        step without its tokens, as the output of a temporal model for the step before; None is a context of zeros.
        """
        state = self.initial_state(tokens.shape[0]) if state is None else state
        last, mean, memory = self.memory(tokens - self.prior, mask, state.memory)
        pooled = self._pooled(tokens, mask)  # (B, L, d_latent)
        mixed, latent = self.mixer(self.latent_norm(pooled), state.latent)
        imagined = self._imagined(tokens, mask, age_s, pooled + mixed, context, last, mean)
        return imagined, ImaginatorState(memory, latent)

    def step(
        self, tokens: Tensor, mask: Tensor, age_s: Tensor, context: Tensor | None, state: ImaginatorState
    ) -> tuple[Imagined, ImaginatorState]:
        """One step: tokens (B, C, D), mask and age_s (B, C), context (B, D). Standard operators only."""
        last, mean, memory = self.memory.step(tokens - self.prior, mask, state.memory)
        pooled = self._pooled(tokens, mask)  # (B, d_latent)
        mixed, latent = self.mixer.step(self.latent_norm(pooled), state.latent)
        imagined = self._imagined(tokens, mask, age_s, pooled + mixed, context, last, mean)
        return imagined, ImaginatorState(memory, latent)

    def bias(self, imagined: Imagined, mask: Tensor) -> Tensor:
        """What to add to attention scores of the channels: 0 for a real token, less the surer an imagined one is not.

        It is -beta (log variance - its lowest), beta >= 0 learned: an imagined token never counts more than a real one.
        """
        doubt: Tensor = F.softplus(self.distrust) * (imagined.log_variance - LOWEST_LOG_VARIANCE)
        return -doubt * (1 - mask)

    def weights(self, imagined: Imagined, mask: Tensor) -> Tensor:
        """Weights (..., C) for a mean over the channels, of `bias`; they sum to 1, also with nothing there."""
        return F.softmax(self.bias(imagined, mask), dim=-1)

    def _pooled(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """The latent of this step alone: the mean of the codes of the channels that are there, or `nothing`."""
        there = mask.unsqueeze(-1)  # (..., C, 1)
        safe = torch.where(there > 0, tokens, torch.zeros_like(tokens))
        code = self.encoder_out(F.gelu(self.encoder_in(self.norm(safe)) + self.encoder_channel))  # (..., C, d_latent)
        count = mask.sum(-1, keepdim=True)  # (..., 1)
        return torch.where(count > 0, (code * there).sum(-2) / count.clamp(min=1.0), self.nothing)

    def _imagined(
        self,
        tokens: Tensor,
        mask: Tensor,
        age_s: Tensor,
        latent: Tensor,
        context: Tensor | None,
        last: Tensor,
        mean: Tensor,
    ) -> Imagined:
        if context is not None:
            latent = latent + self.context(context)
        age_s = age_s.clamp(0.0, MAX_AGE_S).unsqueeze(-1)  # (..., C, 1)
        fresh = torch.exp(-age_s * torch.exp(-self.log_fade_s))  # (..., C, D)
        remembered = fresh * last + (1 - fresh) * mean
        x = self.from_latent(latent).unsqueeze(-2) + self.from_memory(torch.cat([remembered, mean], dim=-1))
        x = F.gelu(x + self.query + torch.log1p(age_s / 30.0) * self.query_age)  # (..., C, d_hidden)
        out = self.out(self.dropout(F.gelu(self.hidden(x))))  # (..., C, D+1)
        imagined = self.prior + remembered + out[..., :-1]
        span = HIGHEST_LOG_VARIANCE - LOWEST_LOG_VARIANCE
        log_variance = LOWEST_LOG_VARIANCE + span * torch.sigmoid(out[..., -1])  # (..., C)
        whole = torch.where(mask.unsqueeze(-1) > 0, tokens, imagined + self.synthetic)
        return Imagined(whole, imagined, log_variance)
