"""The chat template as the training code applies it; `chat_template.jinja` is the same for the engine (selftest.py compares).

Special tokens and the order of turns are DeepSeek-V3.1's. A tool is one line of signature, made from its JSON schema:
a fifth of the tokens that the schema itself would take.
"""

import json
from dataclasses import dataclass, field

BOS, EOS, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
USER, ASSISTANT = "<｜User｜>", "<｜Assistant｜>"
CALLS_BEGIN, CALLS_END = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
CALL_BEGIN, CALL_SEPARATOR, CALL_END = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"
OUTPUT_BEGIN, OUTPUT_END = "<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>"
# In the order of their ids. The last two are reserved.
SPECIAL_TOKENS = [
    BOS, EOS, PAD, USER, ASSISTANT, CALLS_BEGIN, CALL_BEGIN, CALL_SEPARATOR, CALL_END, CALLS_END,
    OUTPUT_BEGIN, OUTPUT_END, "<think>", "</think>",
]  # fmt: skip


@dataclass
class Call:
    """A tool call; arguments stand in the order of the schema."""

    name: str
    arguments: dict


@dataclass
class Message:
    """A turn. `weight` is what the loss of an assistant's turn counts."""

    role: str
    content: str = ""
    calls: list[Call] = field(default_factory=list)
    weight: float = 1.0


@dataclass
class Episode:
    """A conversation, with the JSON schemas of its tools."""

    messages: list[Message]
    system: str = ""
    tools: list[dict] = field(default_factory=list)


Segment = tuple[str, float]


def compact(value: object) -> str:
    """JSON without spaces."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def signature(tool: dict) -> str:
    """`name(a, b?: integer = 2, c?: x|y) description`."""
    schema = tool.get("parameters") or {}
    required = schema.get("required") or []
    parameters = []
    for name, kind in (schema.get("properties") or {}).items():
        text = name if name in required else name + "?"
        if "enum" in kind:
            text += ": " + "|".join(map(str, kind["enum"]))
        elif kind.get("type", "string") != "string":
            text += ": " + kind["type"]
        if "default" in kind:
            text += " = " + str(kind["default"]).lower()
        parameters.append(text)
    description = tool.get("description")
    return f"{tool['name']}({', '.join(parameters)})" + (f" {description}" if description else "")


def render(episode: Episode) -> list[Segment]:
    """Pieces of text with the weight of their loss. A special token is always a piece of its own."""
    head = episode.system
    if episode.tools:
        head += ("\n\n" if head else "") + "Tools:" + "".join("\n" + signature(tool) for tool in episode.tools)
    pieces: list[Segment] = [(BOS, 0.0)] + ([(head, 0.0)] if head else [])
    after_tool = False
    for message in episode.messages:
        if message.role == "user":
            pieces += [(USER, 0.0), (message.content, 0.0)]
        elif message.role == "tool":
            pieces += [(OUTPUT_BEGIN, 0.0), (message.content, 0.0), (OUTPUT_END, 0.0)]
        else:
            weight = message.weight
            pieces += [] if after_tool else [(ASSISTANT, 0.0)]
            pieces += [(message.content, weight)] if message.content else []
            if message.calls:
                pieces.append((CALLS_BEGIN, weight))
                for call in message.calls:
                    body = [CALL_BEGIN, call.name, CALL_SEPARATOR, compact(call.arguments), CALL_END]
                    pieces += [(text, weight) for text in body]
                pieces.append((CALLS_END, weight))
            pieces.append((EOS, weight))
        after_tool = message.role == "tool"
    return pieces
