"""What must hold of the recipe, checked without a test framework: `run.sh selftest` before a run that matters.

Each check fails if the thing that it is about is broken; none needs a trained model or the sources.
"""

import os
import random
import re
import tempfile
from collections.abc import Callable

import torch

from . import checkpoint
from .checkpoint import Progress
from .export import dequantise, published_state, quantise, write_json
from .model.attention import largest_logit
from .model.config import ModelConfig
from .model.experts import GroupedFeedForward
from .model.network import CausewayModel
from .optimizer.muon_clip import MuonClip
from .optimizer.newton_schulz import orthogonalise
from .optimizer.qk_clip import qk_clip
from .tasks.calls import generated_calls
from .tasks.conversation import conversation
from .tasks.draw import Draw
from .tasks.everyday import everyday
from .tasks.facts import QUESTIONS, STATEMENTS, facts
from .tasks.questions import HELD_OUT, TOPIC_FILES, normal, topic_question
from .text.template import BOS, EOS, Episode, render

TINY = ModelConfig(
    vocab_size=64, hidden_size=32, intermediate_size=48, moe_intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
    n_routed_experts=4, kv_lora_rank=16, q_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=16,
    max_position_embeddings=32,
)  # fmt: skip


def tiny_step(model: CausewayModel, optimizer: MuonClip, step: int, clip_at: float | None = None) -> float:
    """One step on random tokens that the step's number decides."""
    generator = torch.Generator().manual_seed(step)
    tokens = torch.randint(0, TINY.vocab_size, (4, 17), generator=generator)
    for attention in model.attentions():
        attention.probe = True
    loss = model.loss(tokens, torch.ones(tokens.shape))
    loss.backward()
    optimizer.step()
    for attention in model.attentions() if clip_at else []:
        qk_clip(attention, clip_at)
    for mixture in model.mixtures():
        mixture.gate.rebalance(mixture.load, 5e-3)
    model.zero_grad(set_to_none=True)
    return loss.item()


def fresh(seed: int = 1, rate: float = 3e-3) -> tuple[CausewayModel, MuonClip]:
    torch.manual_seed(seed)
    model = CausewayModel(TINY)
    return model, MuonClip(model, rate)


def newton_schulz_orthogonalises() -> None:
    for shape in ((3, 96, 256), (3, 256, 96), (2, 64, 128)):
        update = orthogonalise(torch.randn(*shape))
        values = torch.linalg.svdvals(update)
        assert values.min() > 0.25 and values.max() < 1.3, (shape, values.min(), values.max())


def muon_updates_have_adams_size() -> None:
    """0.2 sqrt(max(rows, columns)) makes the RMS of an update 0.2, whatever the shape; and weights decay."""
    model, _ = fresh()
    optimizer = MuonClip(model, rate=1.0, weight_decay=0.0)
    before = {name: tensor.clone() for name, tensor in optimizer.matrices.items()}
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    for name, tensor in optimizer.matrices.items():
        rms = (tensor - before[name]).square().mean().sqrt().item()
        expected = 0.2 * (min(tensor.shape[-2:]) * max(tensor.shape[-2:]) / (tensor.shape[-2] * tensor.shape[-1])) ** 0.5
        assert 0.7 * expected < rms < 1.2 * expected, (name, rms)
    decaying = MuonClip(model, rate=0.1, weight_decay=0.5)
    name, tensor = next(iter(decaying.matrices.items()))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    old = tensor.clone()
    decaying.step()
    assert torch.allclose(tensor, old * 0.95, atol=1e-6), name


def muon_takes_matrices_and_adam_the_rest() -> None:
    _, optimizer = fresh()
    assert all(tensor.dim() >= 2 for tensor in optimizer.matrices.values())
    rest = {name.split(".")[-2 if name.endswith("weight") else -1] for name in optimizer.others}
    assert {"embed_tokens", "lm_head", "gate", "norm"} <= rest, rest
    assert not any("proj" in name for name in optimizer.others)


def qk_clip_acts() -> None:
    """Heads whose logits have passed the threshold come back to it; the others and their answers stay as they are."""
    model, _ = fresh()
    attention = model.attentions()[0]
    with torch.no_grad():
        attention.q_b_proj.weight[: TINY.qk_head_dim] *= 400  # the first head only
    x = torch.randn(2, 16, TINY.hidden_size)
    attention.probe = True
    attention(x, model.model.rotary)
    before = attention.largest_logit.clone()
    second = attention.q_b_proj.weight[TINY.qk_head_dim :].clone()
    assert before[0] > 20 > before[1], before
    assert qk_clip(attention, threshold=20.0) == 1
    assert torch.equal(attention.q_b_proj.weight[TINY.qk_head_dim :], second)
    attention(x, model.model.rotary)
    assert abs(attention.largest_logit[0] - 20) < 0.05, attention.largest_logit
    assert torch.allclose(attention.largest_logit[1], before[1], rtol=1e-4)


def qk_clip_holds_logits_in_training() -> None:
    """At a rate that lets logits grow without bound, the clip brings them back at each step; one step is what is over."""

    def largest(clip_at: float | None) -> float:
        model, optimizer = fresh(rate=0.1)
        for step in range(40):
            tiny_step(model, optimizer, step, clip_at)
        return max(attention.largest_logit.max().item() for attention in probed(model))

    free, held = largest(None), largest(4.0)
    assert free > 20 and held < 10, (free, held)


def probed(model: CausewayModel) -> list:
    with torch.no_grad():
        model.hidden(torch.randint(0, TINY.vocab_size, (4, 16), generator=torch.Generator().manual_seed(99)))
    return model.attentions()


def largest_logit_is_causal() -> None:
    query, key = torch.zeros(1, 1, 3, 4), torch.zeros(1, 1, 3, 4)
    query[0, 0, 0, 0], key[0, 0, 2, 0] = 10, 10  # the first token may not see the last
    assert largest_logit(query, key).item() == 0


def experts_have_right_gradients() -> None:
    torch.manual_seed(2)
    x, gate, up = torch.randn(7, 6), torch.randn(3, 4, 6), torch.randn(3, 4, 6)
    down, ends = torch.randn(3, 6, 4), [3, 3, 7]  # one expert without a token
    inputs = [tensor.double().requires_grad_() for tensor in (x, gate, up, down)]
    assert torch.autograd.gradcheck(lambda *tensors: GroupedFeedForward.apply(*tensors, ends), inputs)


def balance_moves_load() -> None:
    """The bias takes tokens from a crowded expert, and is no part of the weights."""
    model, _ = fresh()
    router = model.mixtures()[0].gate
    x = torch.randn(256, TINY.hidden_size) + 1
    router.weight.data[0] += 0.05
    crowded = torch.bincount(router(x)[1].flatten(), minlength=4)
    for _ in range(200):
        router.rebalance(torch.bincount(router(x)[1].flatten(), minlength=4), 5e-3)
    balanced = torch.bincount(router(x)[1].flatten(), minlength=4)
    assert crowded.max() > 1.5 * 128 and balanced.max() < 1.25 * 128, (crowded, balanced)


def a_resumed_run_is_the_same_run() -> None:
    """Six steps at once, and three, a state, three more: the same weights, bit for bit."""
    whole, optimizer = fresh()
    for step in range(6):
        tiny_step(whole, optimizer, step)
    with tempfile.TemporaryDirectory() as folder:
        first, optimizer = fresh()
        for step in range(3):
            tiny_step(first, optimizer, step)
        checkpoint.append_log(folder, {"step": 3})
        checkpoint.save(folder, Progress(step=3, tokens=51, cursor={"sgd": 4}), first, optimizer)
        checkpoint.append_log(folder, {"step": 5})  # what a crash leaves: logged, and not in the state
        second, optimizer = fresh(seed=9)
        progress = checkpoint.load(folder, second, optimizer)
        assert (progress.step, progress.tokens, progress.cursor) == (3, 51, {"sgd": 4})
        with open(os.path.join(folder, checkpoint.LOG)) as file:
            assert len(file.readlines()) == 1
        for step in range(progress.step, 6):
            tiny_step(second, optimizer, step)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


def the_model_is_deepseek_v3() -> None:
    """Its exported weights give the same logits in transformers' own class."""
    from safetensors.torch import save_file
    from transformers import DeepseekV3ForCausalLM

    torch.manual_seed(3)
    model = CausewayModel(ModelConfig()).eval()
    for mixture in model.mixtures():
        mixture.gate.e_score_correction_bias.normal_(std=0.3)
    with tempfile.TemporaryDirectory() as folder:
        tensors = {name: tensor.contiguous() for name, tensor in published_state(model).items()}
        save_file(tensors, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
        write_json(os.path.join(folder, "config.json"), model.config.published() | {"torch_dtype": "float32"})
        reference = DeepseekV3ForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokens = torch.randint(14, 4096, (2, 200))
    with torch.no_grad():
        difference = (reference(tokens).logits - model.logits(model.hidden(tokens))).abs().max().item()
    assert difference < 1e-4, difference


def fp8_keeps_three_bits() -> None:
    weight = torch.randn(200, 300) * torch.logspace(-3, 0, 200)[:, None]
    restored = dequantise(*quantise(weight))
    block = weight[:128, :128].abs().max()
    assert (restored - weight)[:128, :128].abs().max() <= block / 16 + 1e-9
    assert ((restored - weight).abs() / weight.abs())[190:].median() < 0.04


def the_template_is_the_engines() -> None:
    """chat_template.jinja, which the engine applies, writes what `render` wrote for training."""
    from transformers.utils.chat_template_utils import render_jinja_template

    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "text", "chat_template.jinja")) as file:
        template = file.read()
    draw = Draw(random.Random(4))
    for episode in [make(draw) for make in (generated_calls, everyday, conversation) for _ in range(40)]:
        tools = [{"type": "function", "function": tool} for tool in episode.tools] or None
        texts, _ = render_jinja_template([as_messages(episode)], tools=tools, chat_template=template, bos_token=BOS, eos_token=EOS)
        assert texts[0] == "".join(text for text, _ in render(episode)), texts[0]


def as_messages(episode: Episode) -> list[dict]:
    messages = [{"role": "system", "content": episode.system}] if episode.system else []
    for message in episode.messages:
        calls = [{"type": "function", "function": {"name": c.name, "arguments": c.arguments}} for c in message.calls]
        messages.append({"role": message.role, "content": message.content} | ({"tool_calls": calls} if calls else {}))
    return messages


def evaluation_is_held_out() -> None:
    """No word of a split list, no wording and no fact of an evaluation can be drawn in training."""
    seen, held = Draw(random.Random(5)), Draw(random.Random(5), evaluation=True)
    for kind in ("names", "cities", "things", "foods"):
        assert held.words[kind] and not set(seen.words[kind]) & set(held.words[kind]), kind
    for pair in (STATEMENTS, QUESTIONS):
        assert pair[1] and not set(pair[0]) & set(pair[1])
    statements = {fact.statement for fact in facts(held, 300)}
    assert not statements & {fact.statement for _ in range(10) for fact in facts(seen, 300)}


def composed_wordings_are_not_the_held_out_ones() -> None:
    """What variety puts together is never a wording that is held out."""
    draw = Draw(random.Random(6), variety=2)
    held_statements = [as_pattern(template) for template in STATEMENTS[1]]
    held_questions = [as_pattern(template) for template in QUESTIONS[1]]
    known = facts(draw, 1500)
    assert not [f.statement for f in known for pattern in held_statements if pattern.fullmatch(f.statement)]
    assert not [f.question for f in known for pattern in held_questions if pattern.fullmatch(f.question)]
    for kind in TOPIC_FILES:
        drawn = {normal(topic_question(draw, kind)[0]) for _ in range(4000)}
        assert not drawn & HELD_OUT, (kind, drawn & HELD_OUT)


def as_pattern(template: str) -> re.Pattern:
    return re.compile(re.sub(r"\\\{\w\\\}", "(.+)", re.escape(template)), re.IGNORECASE)


CHECKS: list[Callable[[], None]] = [
    newton_schulz_orthogonalises,
    muon_updates_have_adams_size,
    muon_takes_matrices_and_adam_the_rest,
    qk_clip_acts,
    qk_clip_holds_logits_in_training,
    largest_logit_is_causal,
    experts_have_right_gradients,
    balance_moves_load,
    a_resumed_run_is_the_same_run,
    the_model_is_deepseek_v3,
    fp8_keeps_three_bits,
    the_template_is_the_engines,
    evaluation_is_held_out,
    composed_wordings_are_not_the_held_out_ones,
]


def selftest() -> int:
    """Runs every check; the number of those that failed."""
    torch.set_num_threads(1)
    failed = 0
    for check in CHECKS:
        torch.manual_seed(1)
        try:
            check()
            print("ok  ", check.__name__.replace("_", " "))
        except AssertionError as error:
            failed += 1
            print("FAIL", check.__name__.replace("_", " "), str(error)[:400])
    return failed
