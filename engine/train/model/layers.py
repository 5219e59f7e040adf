"""What every layer is made of: norms, projections, the dense feed-forward network, rotary positions."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """y = x / rms(x) * weight (Zhang and Sennrich 2019, arXiv 1910.07467, eq. 4)."""

    def __init__(self, size: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


def projection(inputs: int, outputs: int) -> nn.Linear:
    """A matrix without bias. Muon's updates bring it to its scale, so it begins at half the usual one."""
    linear = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(linear.weight, std=0.5 / math.sqrt(inputs))
    return linear


class FeedForward(nn.Module):
    """SwiGLU: down(silu(gate x) * up x) (Shazeer 2020, arXiv 2002.05202, eq. 6)."""

    def __init__(self, hidden: int, inner: int):
        super().__init__()
        self.gate_proj = projection(hidden, inner)
        self.up_proj = projection(hidden, inner)
        self.down_proj = projection(inner, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class RotaryEmbedding(nn.Module):
    """Rotary positions (Su et al. 2021, arXiv 2104.09864, eq. 15) on interleaved pairs, as DeepSeek stores them."""

    def __init__(self, size: int, theta: float, positions: int):
        super().__init__()
        frequency = theta ** (-torch.arange(0, size, 2).float() / size)
        angle = torch.arange(positions).float()[:, None] * frequency
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: [batch, heads, tokens, size]. Both of query and key come out as halves, which leaves their product as it is."""
        even, odd = x[..., 0::2], x[..., 1::2]
        cos, sin = self.cos[: x.shape[-2]], self.sin[: x.shape[-2]]
        return torch.cat([even * cos - odd * sin, odd * cos + even * sin], -1)
