"""Copying: a sequence comes again and again. What finds facts in a context begins as what continues a repetition."""

from .draw import Draw


def copying(draw: Draw, tokens: int, vocabulary: int, first_id: int, encode, text) -> tuple[list[int], list[float]]:
    """Ids and weights: a stretch of random tokens, of words, or of text, two to four times; repetitions count."""
    length = draw.rng.randint(4, max(5, min(400, int(tokens * 0.48))))
    kind = draw.rng.random()
    if kind < 0.35:
        stretch = [draw.rng.randrange(first_id, vocabulary) for _ in range(length)]
    elif kind < 0.7:
        stretch = []
        while len(stretch) < length:
            word = draw.one((draw.noun, draw.name, draw.invented, draw.city, draw.code))()
            stretch += encode(" ") + encode(word)
    else:
        stretch = encode(text(length * 4))
    stretch = stretch[:length]
    repetitions = max(2, min(4, tokens // (len(stretch) + 1)))
    ids = stretch * repetitions
    return ids, [0.0] * len(stretch) + [1.0] * (len(ids) - len(stretch))
