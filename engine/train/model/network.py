"""The model on a page."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import LatentAttention
from .config import ModelConfig
from .experts import MixtureOfExperts
from .layers import FeedForward, RMSNorm, RotaryEmbedding

LOSS_CHUNK = 2048


class DecoderLayer(nn.Module):
    """Attention and a feed-forward network, each on the normed stream and added to it."""

    def __init__(self, config: ModelConfig, index: int):
        super().__init__()
        dense = index < config.first_k_dense_replace
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = LatentAttention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = FeedForward(config.hidden_size, config.intermediate_size) if dense else MixtureOfExperts(config)

    def forward(self, x: Tensor, rotary: RotaryEmbedding) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), rotary)
        rows = self.post_attention_layernorm(x).view(-1, x.shape[-1])
        return x + self.mlp(rows).view(x.shape)


class Decoder(nn.Module):
    """Embedding, layers, last norm."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.embed_tokens = nn.Parameter(torch.randn(config.vocab_size, config.hidden_size) * 0.16)
        self.layers = nn.ModuleList(DecoderLayer(config, index) for index in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.rotary = RotaryEmbedding(config.qk_rope_head_dim, config.rope_theta, 2 * config.max_position_embeddings)


class CausewayModel(nn.Module):
    """DeepSeek-V3 for causal language modelling."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.lm_head = nn.Parameter(torch.randn(config.vocab_size, config.hidden_size) * 0.02)

    def hidden(self, tokens: Tensor) -> Tensor:
        """[batch, tokens] ids to [batch, tokens, hidden]."""
        x = F.embedding(tokens, self.model.embed_tokens)
        for layer in self.model.layers:
            x = layer(x, self.model.rotary)
        return self.model.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.lm_head)

    def loss(self, tokens: Tensor, weights: Tensor) -> Tensor:
        """Mean cross entropy of the next token, by the weight of each token as a target; both [batch, tokens + 1].
        Only positions that count go through the head."""
        hidden = self.hidden(tokens[:, :-1]).reshape(-1, self.config.hidden_size)
        targets, weights = tokens[:, 1:].reshape(-1), weights[:, 1:].reshape(-1)
        counted = weights.nonzero()[:, 0]
        total = hidden.new_zeros(())
        for part in counted.split(LOSS_CHUNK):
            errors = F.cross_entropy(self.logits(hidden[part]), targets[part], reduction="none")
            total = total + (errors * weights[part]).sum()
        return total / weights.sum()

    def attentions(self) -> list[LatentAttention]:
        return [layer.self_attn for layer in self.model.layers]

    def mixtures(self) -> list[MixtureOfExperts]:
        return [layer.mlp for layer in self.model.layers if isinstance(layer.mlp, MixtureOfExperts)]

    def parameter_counts(self) -> tuple[int, int]:
        """All parameters, and those that work on one token (without the embedding's other rows)."""
        c = self.config
        total = sum(parameter.numel() for parameter in self.parameters())
        idle_experts = c.n_routed_experts - c.num_experts_per_tok
        idle = idle_experts * 3 * c.hidden_size * c.moe_intermediate_size * (c.num_hidden_layers - c.first_k_dense_replace)
        return total, total - idle - c.vocab_size * c.hidden_size
