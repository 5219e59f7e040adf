"""Byte-level BPE of 4,096 tokens.

A space, each part of camelCase and snake_case, and one or two digits are pieces of their own: a word is then the same
tokens after a quote and after a space, which is what copying into JSON needs.
"""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from .template import SPECIAL_TOKENS, Segment

VOCABULARY = 4096
PIECES = r" |\p{N}{1,2}|\p{Lu}?[\p{Ll}\p{M}]+|\p{Lu}+(?!\p{Ll})|\p{L}+|[^\s\p{L}\p{N}]+|\s"
CACHED_PIECES = 200_000


def train_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Learns merges from texts without special tokens."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PIECES), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


class Encoder:
    """Text to ids, as the engine does it: special tokens by their ids, the text between them in one go."""

    def __init__(self, path: str):
        self.tokenizer = Tokenizer.from_file(path)
        self.special = {token: self.tokenizer.token_to_id(token) for token in SPECIAL_TOKENS}
        self.cache: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        if text in self.special:
            return [self.special[text]]
        ids = self.cache.get(text)
        if ids is None:
            ids = self.tokenizer.encode(text, add_special_tokens=False).ids
            if len(text) < 40 and len(self.cache) < CACHED_PIECES:
                self.cache[text] = ids
        return ids

    def weighted(self, segments: list[Segment]) -> tuple[list[int], list[float]]:
        """Ids and the weight of each."""
        ids: list[int] = []
        weights: list[float] = []
        for text, weight in segments:
            piece = self.encode(text)
            ids += piece
            weights += [weight] * len(piece)
        return ids, weights
