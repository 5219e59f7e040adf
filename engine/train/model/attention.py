"""Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1; DeepSeek-V3, arXiv 2412.19437, eq. 1 to 11)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import ModelConfig
from .layers import RMSNorm, RotaryEmbedding, projection

PROBED_TOKENS = 2048


class LatentAttention(nn.Module):
    """Queries and keys come through low ranks; the last `qk_rope_head_dim` of each head carry the position.

    With `probe` set, a forward pass leaves the largest attention logit of each head in `largest_logit` (QK-clip).
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        heads = config.num_attention_heads
        self.q_a_proj = projection(config.hidden_size, config.q_lora_rank)
        self.q_a_layernorm = RMSNorm(config.q_lora_rank, config.rms_norm_eps)
        self.q_b_proj = projection(config.q_lora_rank, heads * config.qk_head_dim)
        self.kv_a_proj_with_mqa = projection(config.hidden_size, config.kv_lora_rank + config.qk_rope_head_dim)
        self.kv_a_layernorm = RMSNorm(config.kv_lora_rank, config.rms_norm_eps)
        self.kv_b_proj = projection(config.kv_lora_rank, heads * (config.qk_nope_head_dim + config.v_head_dim))
        self.o_proj = projection(heads * config.v_head_dim, config.hidden_size)
        self.probe = False
        self.largest_logit: Tensor | None = None

    def forward(self, x: Tensor, rotary: RotaryEmbedding) -> Tensor:
        c, (batch, tokens, _) = self.config, x.shape
        heads, nope, rope, value_dim = c.num_attention_heads, c.qk_nope_head_dim, c.qk_rope_head_dim, c.v_head_dim
        query = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x)))
        query = query.view(batch, tokens, heads, c.qk_head_dim).transpose(1, 2)  # [batch, heads, tokens, qk_head_dim]
        latent, key_rope = self.kv_a_proj_with_mqa(x).split([c.kv_lora_rank, rope], -1)
        expanded = self.kv_b_proj(self.kv_a_layernorm(latent)).view(batch, tokens, heads, nope + value_dim).transpose(1, 2)
        key_nope, value = expanded.split([nope, value_dim], -1)
        key_rope = rotary(key_rope.unsqueeze(1)).expand(batch, heads, tokens, rope)  # one key for all heads
        query = torch.cat([query[..., :nope], rotary(query[..., nope:])], -1)
        key = torch.cat([key_nope, key_rope], -1)
        if self.probe:
            self.largest_logit = largest_logit(query.detach(), key.detach())
        mixed = F.scaled_dot_product_attention(query, key, value.contiguous(), is_causal=True)
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, tokens, heads * value_dim))


def largest_logit(query: Tensor, key: Tensor) -> Tensor:
    """The largest causal q.k / sqrt(d) of each head, over the first rows of the batch. Shapes [batch, heads, tokens, d]."""
    rows = max(1, PROBED_TOKENS // query.shape[2])
    query, key = query[:rows], key[:rows]
    logits = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    seen = torch.ones(logits.shape[-2:], dtype=torch.bool).tril()
    return logits.masked_fill(~seen, -torch.inf).amax((0, 2, 3))
