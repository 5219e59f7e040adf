"""MuonClip without its clip (qk_clip.py): Muon on matrices, AdamW on the rest."""

import math

import torch
from torch import Tensor

from ..model.network import CausewayModel
from .newton_schulz import orthogonalise

BY_ADAM = ("embed_tokens", "lm_head", "gate.weight")


class MuonClip:
    """Muon (Liu et al. 2025, arXiv 2502.16982, eq. 1 and 4): Nesterov momentum, orthogonalised, scaled by
    0.2 sqrt(max(rows, columns)) so that its RMS is AdamW's, with decoupled weight decay.

    Embedding, head, router and norms take AdamW (Loshchilov and Hutter 2017, arXiv 1711.05101). With `muon=False`
    all parameters do: that is the baseline to compare with.
    """

    def __init__(self, model: CausewayModel, rate: float, weight_decay: float = 0.1, momentum: float = 0.95, muon: bool = True):
        self.rate, self.weight_decay, self.momentum = rate, weight_decay, momentum
        self.betas, self.eps = (0.9, 0.95), 1e-8
        self.steps = 0
        self.matrices: dict[str, Tensor] = {}
        self.others: dict[str, Tensor] = {}
        for name, parameter in model.named_parameters():
            matrix = muon and parameter.dim() >= 2 and not name.endswith(BY_ADAM)
            (self.matrices if matrix else self.others)[name] = parameter
        self.momenta = {name: torch.zeros_like(p) for name, p in self.matrices.items()}
        self.means = {name: torch.zeros_like(p) for name, p in self.others.items()}
        self.squares = {name: torch.zeros_like(p) for name, p in self.others.items()}

    @torch.no_grad()
    def step(self, scale: float = 1.0) -> None:
        """One update from the gradients; `scale` is the schedule's share of the learning rate."""
        self.steps += 1
        self._muon(self.rate * scale)
        self._adam(self.rate * scale)

    def _muon(self, rate: float) -> None:
        by_shape: dict[torch.Size, list[str]] = {}
        for name, parameter in self.matrices.items():
            by_shape.setdefault(parameter.shape, []).append(name)
        for shape, names in by_shape.items():
            updates = []
            for name in names:
                gradient, momentum = self.matrices[name].grad, self.momenta[name]
                momentum.mul_(self.momentum).add_(gradient)
                updates.append(torch.add(gradient, momentum, alpha=self.momentum))
            rms_scale = 0.2 * math.sqrt(max(shape[-2:]))
            for name, update in zip(names, orthogonalise(torch.stack(updates).flatten(0, -3)).view(-1, *shape)):
                self.matrices[name].mul_(1 - rate * self.weight_decay).add_(update, alpha=-rate * rms_scale)

    def _adam(self, rate: float) -> None:
        first, second = self.betas
        for name, parameter in self.others.items():
            mean, square, gradient = self.means[name], self.squares[name], parameter.grad
            mean.lerp_(gradient, 1 - first)
            square.lerp_(gradient * gradient, 1 - second)
            if parameter.dim() >= 2:
                parameter.mul_(1 - rate * self.weight_decay)
            spread = (square / (1 - second**self.steps)).sqrt_().add_(self.eps)
            parameter.addcdiv_(mean / (1 - first**self.steps), spread, value=-rate)

    def state(self) -> dict[str, object]:
        return {"steps": self.steps, "momenta": self.momenta, "means": self.means, "squares": self.squares}

    def load(self, state: dict) -> None:
        self.steps = state["steps"]
        for kept, stored in ((self.momenta, "momenta"), (self.means, "means"), (self.squares, "squares")):
            for name, tensor in kept.items():
                tensor.copy_(state[stored][name])
