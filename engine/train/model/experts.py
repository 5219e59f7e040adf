"""A mixture of experts (DeepSeek-V3, arXiv 2412.19437, eq. 12 to 16) whose load is balanced by biases (eq. 16)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import ModelConfig
from .layers import FeedForward


class GroupedFeedForward(torch.autograd.Function):
    """Each expert's SwiGLU over its own rows, written out with its gradient: one product an expert and matrix."""

    @staticmethod
    def forward(ctx, x: Tensor, gate: Tensor, up: Tensor, down: Tensor, ends: list[int]) -> Tensor:
        """x [rows, hidden] sorted by expert; gate, up [experts, inner, hidden]; down [experts, hidden, inner]."""
        inner = gate.shape[1]
        gate_up = torch.cat([gate, up], 1)
        projected = x.new_empty(x.shape[0], 2 * inner)
        for expert, (start, end) in enumerate(zip([0, *ends], ends)):
            if end > start:
                torch.mm(x[start:end], gate_up[expert].t(), out=projected[start:end])
        active = F.silu(projected[:, :inner]) * projected[:, inner:]
        y = torch.empty_like(x)
        for expert, (start, end) in enumerate(zip([0, *ends], ends)):
            if end > start:
                torch.mm(active[start:end], down[expert].t(), out=y[start:end])
        ctx.save_for_backward(x, gate_up, down, projected, active)
        ctx.ends = ends
        return y

    @staticmethod
    def backward(ctx, grad_y: Tensor):
        x, gate_up, down, projected, active = ctx.saved_tensors
        inner, grad_y = down.shape[2], grad_y.contiguous()
        spans = list(enumerate(zip([0, *ctx.ends], ctx.ends)))
        grad_active, grad_down = torch.empty_like(active), torch.zeros_like(down)
        for expert, (start, end) in spans:
            if end > start:
                torch.mm(grad_y[start:end], down[expert], out=grad_active[start:end])
                torch.mm(grad_y[start:end].t(), active[start:end], out=grad_down[expert])
        gate, up = projected[:, :inner], projected[:, inner:]
        sigmoid = torch.sigmoid(gate)
        swish = gate * sigmoid
        grad_projected = torch.empty_like(projected)
        grad_projected[:, :inner] = grad_active * up * (sigmoid + swish * (1 - sigmoid))
        grad_projected[:, inner:] = grad_active * swish
        grad_x, grad_gate_up = torch.empty_like(x), torch.zeros_like(gate_up)
        for expert, (start, end) in spans:
            if end > start:
                torch.mm(grad_projected[start:end], gate_up[expert], out=grad_x[start:end])
                torch.mm(grad_projected[start:end].t(), x[start:end], out=grad_gate_up[expert])
        return grad_x, grad_gate_up[:, :inner], grad_gate_up[:, inner:], grad_down, None


class Router(nn.Module):
    """Sigmoid scores; a bias that the optimiser does not touch takes part in the choice and in nothing else."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.top_k, self.scale = config.num_experts_per_tok, config.routed_scaling_factor
        self.weight = nn.Parameter(torch.randn(config.n_routed_experts, config.hidden_size) * 0.02)
        self.register_buffer("e_score_correction_bias", torch.zeros(config.n_routed_experts))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [tokens, hidden] to scores of all experts, and the chosen experts with their weights [tokens, top_k]."""
        scores = torch.sigmoid(F.linear(x, self.weight))
        chosen = torch.topk(scores.detach() + self.e_score_correction_bias, self.top_k, dim=-1).indices
        weights = scores.gather(1, chosen)
        return scores, chosen, weights / (weights.sum(-1, keepdim=True) + 1e-20) * self.scale

    @torch.no_grad()
    def rebalance(self, load: Tensor, step: float) -> None:
        """An expert above the mean load becomes less likely, one below more (auxiliary-loss-free balancing)."""
        self.e_score_correction_bias += step * torch.sign(load.float().mean() - load)


class MixtureOfExperts(nn.Module):
    """Routed experts and a shared one. After a pass, `load` counts the tokens of each expert and `imbalance` is the
    sequence-free balance loss (eq. 17 to 20 over the batch), which training adds with a tiny weight."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        experts, hidden, inner = config.n_routed_experts, config.hidden_size, config.moe_intermediate_size
        self.gate = Router(config)
        self.gate_proj = nn.Parameter(torch.randn(experts, inner, hidden) * (0.5 / math.sqrt(hidden)))
        self.up_proj = nn.Parameter(torch.randn(experts, inner, hidden) * (0.5 / math.sqrt(hidden)))
        self.down_proj = nn.Parameter(torch.randn(experts, hidden, inner) * (0.5 / math.sqrt(inner)))
        self.shared_experts = FeedForward(hidden, inner * config.n_shared_experts)
        self.load = torch.zeros(experts, dtype=torch.long)
        self.imbalance = torch.zeros(())

    def forward(self, x: Tensor) -> Tensor:
        tokens, top_k = x.shape[0], self.gate.top_k
        scores, chosen, weights = self.gate(x)
        by_expert = torch.argsort(chosen.reshape(-1), stable=True)
        self.load = torch.bincount(chosen.reshape(-1), minlength=scores.shape[1])
        ends = self.load.cumsum(0).tolist()
        routed = GroupedFeedForward.apply(
            x.index_select(0, by_expert // top_k), self.gate_proj, self.up_proj, self.down_proj, ends
        )
        back = torch.empty_like(by_expert)
        back[by_expert] = torch.arange(back.numel())
        routed = routed.index_select(0, back).view(tokens, top_k, -1)
        if self.training:
            share = self.load.float() / self.load.sum() * scores.shape[1]
            self.imbalance = (share * (scores / scores.sum(-1, keepdim=True)).mean(0)).sum()
        return (routed * weights.unsqueeze(-1)).sum(1) + self.shared_experts(x)
