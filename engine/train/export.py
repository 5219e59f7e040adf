"""A trained state becomes the folder that the engine loads: DeepSeek-V3's names, fp8 in blocks of 128, tokenizer, template."""

import json
import os
import shutil

import torch
from safetensors.torch import save_file
from torch import Tensor

from . import checkpoint
from .model.config import ModelConfig
from .model.network import CausewayModel
from .text.template import BOS, EOS, PAD

BLOCK = 128
LARGEST_E4M3 = 448.0
MODEL_NAME = "causeway-small"


def published_state(model: CausewayModel) -> dict[str, Tensor]:
    """Every tensor under its published name, in f32: the experts apart, a matrix's `.weight` on matrices that are bare here."""
    state = {}
    for name, tensor in model.state_dict().items():
        if tensor.dim() == 3:
            stem, kind = name.rsplit(".", 1)
            for expert, matrix in enumerate(tensor):
                state[f"{stem}.experts.{expert}.{kind}.weight"] = matrix.contiguous()
        elif name.endswith(("embed_tokens", "lm_head")):
            state[f"{name}.weight"] = tensor
        else:
            state[name] = tensor
    return state


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """e4m3 with one f32 scale a block of 128 x 128 (DeepSeek-V3, arXiv 2412.19437, section 3.3.2)."""
    rows, columns = weight.shape
    down, across = -(-rows // BLOCK), -(-columns // BLOCK)
    padded = torch.zeros(down * BLOCK, across * BLOCK)
    padded[:rows, :columns] = weight
    blocks = padded.view(down, BLOCK, across, BLOCK)
    scale = (blocks.abs().amax((1, 3)) / LARGEST_E4M3).clamp_min(1e-12)
    scaled = (blocks / scale[:, None, :, None]).view(down * BLOCK, across * BLOCK)[:rows, :columns]
    return scaled.to(torch.float8_e4m3fn).contiguous(), scale


def dequantise(quantised: Tensor, scale: Tensor) -> Tensor:
    """What the engine computes with."""
    rows, columns = quantised.shape
    spread = scale.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)[:rows, :columns]
    return quantised.float() * spread


def stored(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Projections in fp8, the routers' biases in f32, the rest in bf16."""
    tensors = {}
    for name, tensor in state.items():
        if name.endswith(("_proj.weight", "_proj_with_mqa.weight")):
            tensors[name], tensors[f"{name}_scale_inv"] = quantise(tensor)
        else:
            tensors[name] = tensor if name.endswith("e_score_correction_bias") else tensor.to(torch.bfloat16)
    return tensors


def write_json(path: str, value: dict) -> None:
    with open(path, "w") as file:
        json.dump(value, file, indent=1, ensure_ascii=False)


def write_model(model: CausewayModel, out: str, tokenizer: str) -> None:
    """Weights, config.json, tokenizer and template."""
    os.makedirs(out, exist_ok=True)
    save_file(stored(published_state(model)), os.path.join(out, "model.safetensors"), metadata={"format": "pt"})
    quantisation = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [BLOCK, BLOCK]}
    config = {"_name_or_path": MODEL_NAME, **model.config.published(), "quantization_config": quantisation}
    write_json(os.path.join(out, "config.json"), config)
    generation = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, "do_sample": False, "max_new_tokens": 256}
    write_json(os.path.join(out, "generation_config.json"), generation)
    shutil.copy(tokenizer, os.path.join(out, "tokenizer.json"))
    template = os.path.join(os.path.dirname(os.path.abspath(__file__)), "text", "chat_template.jinja")
    shutil.copy(template, os.path.join(out, "chat_template.jinja"))
    with open(template) as file:
        words = {"bos_token": BOS, "eos_token": EOS, "pad_token": PAD, "chat_template": file.read()}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": model.config.max_position_embeddings}
    tail = {"clean_up_tokenization_spaces": False, "add_bos_token": False}
    write_json(os.path.join(out, "tokenizer_config.json"), settings | words | tail)


def export(folder: str, out: str, tokenizer: str) -> None:
    """The last state of a run's folder, as a model."""
    state = torch.load(os.path.join(folder, checkpoint.STATE), weights_only=True)
    model = CausewayModel(ModelConfig())
    model.load_state_dict(state["model"])
    write_model(model, out, tokenizer)
    size = os.path.getsize(os.path.join(out, "model.safetensors"))
    print(f"{state['progress']['tokens']:,} tokens trained, {size / 1e6:.1f} MB in {out}")
