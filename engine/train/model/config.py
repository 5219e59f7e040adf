"""The shape of the model."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelConfig:
    """DeepSeek-V3's shape; each name is that of the published config.json."""

    vocab_size: int = 4096
    hidden_size: int = 256
    intermediate_size: int = 768
    moe_intermediate_size: int = 96
    num_hidden_layers: int = 5
    num_attention_heads: int = 4
    n_shared_experts: int = 1
    n_routed_experts: int = 32
    num_experts_per_tok: int = 2
    routed_scaling_factor: float = 1.0
    kv_lora_rank: int = 128
    q_lora_rank: int = 128
    qk_rope_head_dim: int = 32
    qk_nope_head_dim: int = 32
    v_head_dim: int = 64
    first_k_dense_replace: int = 1
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10_000.0
    # the longest context of the curriculum's last phase, and so what the model may claim
    max_position_embeddings: int = 2048

    @property
    def qk_head_dim(self) -> int:
        return self.qk_nope_head_dim + self.qk_rope_head_dim

    def published(self) -> dict[str, object]:
        """config.json without its quantisation."""
        return {
            "architectures": ["DeepseekV3ForCausalLM"],
            "model_type": "deepseek_v3",
            **{name: getattr(self, name) for name in self.__dataclass_fields__},
            "num_key_value_heads": self.num_attention_heads,
            "n_group": 1,
            "topk_group": 1,
            "norm_topk_prob": True,
            "scoring_func": "sigmoid",
            "topk_method": "noaux_tc",
            "moe_layer_freq": 1,
            "num_nextn_predict_layers": 0,
            "hidden_act": "silu",
            "use_cache": True,
            "tie_word_embeddings": False,
            "rope_scaling": None,
            "rope_interleave": True,
            "attention_bias": False,
            "attention_dropout": 0.0,
            "initializer_range": 0.02,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "pad_token_id": 2,
            "torch_dtype": "bfloat16",
        }
