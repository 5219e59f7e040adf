"""QK-clip for latent attention (Kimi K2, arXiv 2507.20534, algorithm 1)."""

import torch

from ..model.attention import LatentAttention

THRESHOLD = 100.0


@torch.no_grad()
def qk_clip(attention: LatentAttention, threshold: float = THRESHOLD) -> int:
    """Scales the heads whose largest logit has passed the threshold back to it; says how many.

    gamma = threshold / largest. The head's own parts of query and key take sqrt(gamma) each. The rotary key is shared
    by all heads and stays, so the head's rotary query takes gamma alone.
    """
    largest = attention.largest_logit
    if largest is None:
        return 0
    gamma = (threshold / largest.clamp_min(1e-6)).clamp(max=1.0)
    clipped = int((gamma < 1).sum())
    if clipped:
        c = attention.config
        query = attention.q_b_proj.weight.view(c.num_attention_heads, c.qk_head_dim, -1)
        key = attention.kv_b_proj.weight.view(c.num_attention_heads, c.qk_nope_head_dim + c.v_head_dim, -1)
        query[:, : c.qk_nope_head_dim] *= gamma.sqrt()[:, None, None]
        key[:, : c.qk_nope_head_dim] *= gamma.sqrt()[:, None, None]
        query[:, c.qk_nope_head_dim :] *= gamma[:, None, None]
    attention.largest_logit = None
    return clipped
