"""What is trained on, in which order. The phases that a published model has seen are history: they only grow at the end.

Copying comes first, in short contexts: nothing that needs the context is learned before it appears, and it appears
suddenly, after two to three million tokens. No skill reaches past the context that it was trained in.
"""

from dataclasses import dataclass

SEED = 11
PEAK_RATE = 3e-3
WARM_UP_STEPS = 100
DECAY_SHARE = 0.4
LAST_RATE_SHARE = 0.03
BALANCE_STEP = 5e-3
BALANCE_LOSS = 1e-3
QK_PROBE_STEPS = 8


@dataclass(frozen=True)
class Phase:
    """Up to `until` tokens of the whole run, in rows of `context` tokens; `mix` is each task's share of the tokens."""

    name: str
    until: int
    context: int
    tokens_a_step: int
    mix: dict[str, float]
    # 0: wordings of the lists; 1: also put together from parts; 2: and more questions about Causeway
    variety: int = 0


PHASES = [
    Phase("copying", 3_000_000, 128, 4096, {"copying": 0.42, "lookup": 0.28, "calls": 0.18, "extraction": 0.12}),
    # the first 26 steps of 256 tokens still had nothing but what the context alone answers
    Phase("short", 3_215_360, 256, 8192, {"copying": 0.15, "lookup": 0.35, "calls": 0.28, "extraction": 0.17, "text": 0.05}),
    Phase("short and wider", 4_200_000, 256, 8192, {
        "copying": 0.1, "lookup": 0.28, "calls": 0.17, "everyday": 0.13, "extraction": 0.1, "conversation": 0.17, "text": 0.05,
    }),
    Phase("middle", 4_755_456, 512, 8192, {
        "copying": 0.04, "lookup": 0.24, "calls": 0.12, "everyday": 0.12, "extraction": 0.06, "conversation": 0.22,
        "sgd": 0.15, "taskmaster": 0.02, "text": 0.03,
    }),
    Phase("middle and varied", 6_600_000, 512, 8192, {
        "copying": 0.03, "lookup": 0.28, "calls": 0.12, "everyday": 0.12, "extraction": 0.07, "conversation": 0.22,
        "sgd": 0.12, "taskmaster": 0.02, "text": 0.02,
    }, variety=1),
    Phase("long", 22_000_000, 1024, 8192, {
        "copying": 0.01, "lookup": 0.18, "calls": 0.07, "everyday": 0.13, "extraction": 0.04, "conversation": 0.29,
        "sgd": 0.24, "taskmaster": 0.02, "text": 0.02,
    }, variety=2),
    Phase("whole", 28_000_000, 2048, 8192, {
        "copying": 0.01, "lookup": 0.2, "calls": 0.06, "everyday": 0.12, "extraction": 0.04, "conversation": 0.3,
        "sgd": 0.23, "taskmaster": 0.02, "text": 0.02,
    }, variety=2),
]  # fmt: skip
PLANNED_TOKENS = PHASES[-1].until


def phase_at(tokens: int) -> Phase:
    """The phase that the next step belongs to."""
    return next(phase for phase in PHASES if tokens < phase.until)


def rate_scale(step: int, tokens: int, planned: int = PLANNED_TOKENS) -> float:
    """The share of the peak rate: a short rise, a plateau, a straight fall over the last part."""
    rise = min(1.0, (step + 1) / WARM_UP_STEPS)
    left = (1 - tokens / planned) / DECAY_SHARE
    return rise * min(1.0, max(LAST_RATE_SHARE, left))
