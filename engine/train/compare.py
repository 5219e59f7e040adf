"""MuonClip against AdamW: the same model, batches, rate and schedule, so many tokens each, and the two curves as a plot.

The rate can be the same because Muon's updates are scaled to AdamW's size (muon_clip.py). Each run has a state of its own
and resumes; when both are done, `comparison.svg` is written beside them.
"""

import json
import os

from .checkpoint import LOG
from .loop import run

NAMES = {"MuonClip": True, "AdamW": False}
COLOURS = {"MuonClip": "#0f766e", "AdamW": "#b45309"}
WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 760, 400, 64, 48, 24, 120


def compare(folder: str, sources: str, tokenizer: str, tokens: int, until: str | None) -> None:
    curves = {}
    for name, muon in NAMES.items():
        own = os.path.join(folder, f"compare-{name.lower()}")
        if not run(own, sources, tokenizer, until, planned=tokens, muon=muon):
            print(f"{name} is not done; the same command goes on")
            return
        curves[name] = losses(os.path.join(own, LOG))
    path = os.path.join(folder, "comparison.svg")
    with open(path, "w") as file:
        file.write(plot(curves))
    print(path)
    for name, curve in curves.items():
        print(f"{name}: {curve[-1][1]:.3f} nats a token after {curve[-1][0]:,} tokens")


def losses(log: str) -> list[tuple[int, float]]:
    """Tokens and training loss, as logged: means of ten steps."""
    with open(log) as file:
        entries = [json.loads(line) for line in file]
    return [(entry["tokens"], entry["loss"]) for entry in entries if "loss" in entry]


def plot(curves: dict[str, list[tuple[int, float]]]) -> str:
    """An SVG of loss by tokens: axes with their units, a line and its name for each run."""
    most = max(tokens for curve in curves.values() for tokens, _ in curve)
    highest = max(loss for curve in curves.values() for _, loss in curve)
    x = lambda tokens: LEFT + tokens / most * (WIDTH - LEFT - RIGHT)  # noqa: E731
    y = lambda loss: HEIGHT - BOTTOM - loss / highest * (HEIGHT - BOTTOM - TOP)  # noqa: E731
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        "<title>Training loss of MuonClip and AdamW on the same tokens</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">million tokens</text>',
        f'<text transform="translate(16 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">loss, nats a token</text>',
    ]
    for loss in range(int(highest) + 1):
        parts.append(f'<path d="M{LEFT} {y(loss):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(loss) + 4:.1f}" text-anchor="end">{loss}</text>')
    for half in range(int(most / 500_000) + 1):
        parts.append(f'<text x="{x(half * 500_000):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{half / 2:g}</text>')
    for name, curve in curves.items():
        line = " ".join(f"{x(tokens):.1f},{y(loss):.1f}" for tokens, loss in curve)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{COLOURS[name]}" stroke-width="1.5"/>')
        tokens, loss = curve[-1]
        offset = -6 if name == "AdamW" else 14
        parts.append(f'<text x="{x(tokens) + 6:.1f}" y="{y(loss) + offset:.1f}" fill="{COLOURS[name]}">{name} {loss:.2f}</text>')
    return "\n".join([*parts, "</svg>", ""])
