"""Random words, names and values, split into what training may see and what is held out for evaluation."""

import os
import random
import string

WORDS = os.path.join(os.path.dirname(__file__), "..", "words")
KINDS = "names surnames cities animals foods things plants jobs adjectives colours places".split()
# Lists whose words are held out in part; the others are too short, or mere decoration.
SPLIT = "names surnames cities animals foods things plants jobs".split()
MONTHS = "January February March April May June July August September October November December".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
ONSETS = "b br c ch cl d dr f fl g gl gr h j k kl l m n p pl qu r s sh sk st t th tr v w z".split()
VOWELS = "a e i o u ai ea ee ia io oa ou".split()
CODAS = " l m n r s t x ck ld nd rk rn st th".split(" ")
HELD_OUT_SHARE = 8
VARIED_SHARE = 0.75


def fnv(text: str) -> int:
    """FNV-1a: the same on each machine and in each run, as Python's own hash is not."""
    value = 2166136261
    for byte in text.encode():
        value = ((value ^ byte) * 16777619) & 0xFFFFFFFF
    return value


def held_out(key: str) -> bool:
    """Whether what this key stands for is kept away from training: one in eight."""
    return (fnv(key) >> 8) % HELD_OUT_SHARE == 0


def read_words(kind: str) -> list[str]:
    with open(os.path.join(WORDS, f"{kind}.txt")) as file:
        return file.read().split()


ALL_WORDS = {kind: read_words(kind) for kind in KINDS}


class Draw:
    """Values for one episode after another, all from one generator and one side of the split."""

    def __init__(self, rng: random.Random, evaluation: bool = False, variety: int = 0):
        """With `variety`, training puts wordings together from parts (wordings.py); at 2 it has more questions."""
        self.rng = rng
        self.evaluation = evaluation
        self.variety = 0 if evaluation else variety
        self.words = {
            kind: [w for w in words if kind not in SPLIT or held_out(w) == evaluation] for kind, words in ALL_WORDS.items()
        }

    def one(self, choices):
        return self.rng.choice(choices)

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    def template(self, templates: tuple[list, list], plain: float = 0.0):
        """One of a pair of lists: for training, and held out. In training the first has a share of its own."""
        if self.evaluation:
            return self.one(templates[1])
        return templates[0][0] if self.chance(plain) else self.one(templates[0])

    def varied(self) -> bool:
        """Whether this wording shall be put together from parts. Draws nothing where there is no variety."""
        return self.variety > 0 and self.chance(VARIED_SHARE)

    def word(self, kind: str) -> str:
        return self.one(self.words[kind])

    def noun(self) -> str:
        return self.word(self.one(("things", "things", "animals", "foods", "plants")))

    def invented(self) -> str:
        """A word that is in no dictionary, of two or three syllables: what must be copied and cannot be known."""
        while True:
            parts = [self.one(ONSETS) + self.one(VOWELS) for _ in range(self.one((1, 2, 2)))]
            word = "".join(parts) + self.one(ONSETS) + self.one(VOWELS[:5]) + self.one(CODAS)
            if held_out(word) == self.evaluation:
                return word

    def name(self) -> str:
        return self.word("names") if self.chance(0.8) else self.invented().capitalize()

    def full_name(self) -> str:
        surname = self.word("surnames") if self.chance(0.8) else self.invented().capitalize()
        return f"{self.name()} {surname}"

    def city(self) -> str:
        return self.word("cities") if self.chance(0.8) else self.invented().capitalize()

    def number(self, low: int = 10, high: int = 9999) -> int:
        """All magnitudes alike. Every seventh number is held out."""
        while True:
            top = min(high, 10 ** self.rng.randint(len(str(low)), len(str(high))) - 1)
            value = self.rng.randint(low, max(low, top))
            if high - low < 50 or (value % 7 == 3) == self.evaluation:
                return value

    def date(self) -> str:
        day, month = self.rng.randint(1, 28), self.one(MONTHS)
        return self.one((f"{day} {month}", f"{month} {day}", f"{2020 + day % 11}-{MONTHS.index(month) + 1:02d}-{day:02d}"))

    def time(self) -> str:
        hour, minute = self.rng.randint(0, 23), self.one("00 00 05 10 15 20 30 30 40 45 50".split())
        return f"{hour}:{minute}" if self.chance(0.7) else f"{hour % 12 or 12} {'pm' if hour > 11 else 'am'}"

    def code(self) -> str:
        letters = "".join(self.one(string.ascii_uppercase) for _ in range(self.rng.randint(1, 3)))
        return self.one(
            (f"{letters}-{self.number()}", f"{letters}{self.number()}", f"{self.word('things')}-{self.number()}",
             f"{self.number()}-{self.number()}", f"{self.invented()}{self.number(10, 99)}")
        )  # fmt: skip

    def email(self) -> str:
        return f"{self.name().lower()}{self.one(('', '.' + self.word('surnames').lower()))}@{self.one((self.noun(), self.invented()))}.{self.one(('com', 'org', 'net', 'example'))}"

    def phrase(self) -> str:
        """A title or a few words to copy."""
        return self.one(
            (f"{self.word('adjectives')} {self.noun()}", f"{self.noun()} and {self.noun()}", f"{self.name()}'s {self.noun()}",
             f"the {self.noun()} of {self.city()}", f"{self.noun()} {self.noun()} {self.noun()}", f"{self.invented()} {self.noun()}")
        )  # fmt: skip
