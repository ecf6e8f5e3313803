"""Texts on which a packaged tokenizer must equal Hugging Face's: the same texts in every run."""

import random
from collections.abc import Callable, Sequence

COUNT = 10_000
_SEED = 12

# One range of code points per script or kind of symbol, from Unicode's list of blocks.
_SCRIPTS = (
    (0x0041, 0x007A), (0x00C0, 0x024F), (0x0250, 0x02FF), (0x0370, 0x03FF), (0x0400, 0x052F),
    (0x0531, 0x058F), (0x0590, 0x05FF), (0x0600, 0x06FF), (0x0700, 0x074F), (0x0900, 0x097F),
    (0x0980, 0x09FF), (0x0A00, 0x0A7F), (0x0B80, 0x0BFF), (0x0C00, 0x0C7F), (0x0D00, 0x0D7F),
    (0x0E00, 0x0E7F), (0x0E80, 0x0EFF), (0x0F00, 0x0FFF), (0x1000, 0x109F), (0x10A0, 0x10FF),
    (0x1100, 0x11FF), (0x1200, 0x137F), (0x13A0, 0x13FF), (0x1780, 0x17FF), (0x1800, 0x18AF),
    (0x1E00, 0x1EFF), (0x1F00, 0x1FFF), (0x2C00, 0x2C5F), (0x3040, 0x30FF), (0x3100, 0x312F),
    (0xA000, 0xA48C), (0xA980, 0xA9DF), (0xAC00, 0xD7A3), (0xFB00, 0xFDFF), (0xFE70, 0xFEFF),
    (0xFF00, 0xFFEF), (0x10330, 0x1034F), (0x12000, 0x123FF), (0x1D400, 0x1D7FF),
    (0x1E900, 0x1E95F),
)  # fmt: skip
_IDEOGRAPHS = (
    (0x2E80, 0x2FDF), (0x3000, 0x303F), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF), (0x2A700, 0x2EBE0), (0x2F800, 0x2FA1F), (0x30000, 0x323AF),
)  # fmt: skip
_SYMBOLS = (
    (0x0021, 0x0040), (0x005B, 0x0060), (0x007B, 0x007E), (0x00A1, 0x00BF), (0x2000, 0x206F),
    (0x20A0, 0x20CF), (0x2100, 0x214F), (0x2150, 0x218F), (0x2190, 0x23FF), (0x2460, 0x27BF),
    (0x2E00, 0x2E5D), (0x3200, 0x33FF), (0xFE10, 0xFE6F), (0x1F000, 0x1F2FF),
)  # fmt: skip
_EMOJI = ((0x1F300, 0x1F64F), (0x1F680, 0x1F6FF), (0x1F900, 0x1FAFF), (0x2600, 0x27BF))
_MARKS = (
    (0x0300, 0x036F), (0x0483, 0x0489), (0x0591, 0x05BD), (0x064B, 0x065F), (0x093A, 0x094D),
    (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF), (0x20D0, 0x20F0), (0x302A, 0x302F), (0x3099, 0x309C),
    (0xFE00, 0xFE0F), (0xFE20, 0xFE2F), (0x1D165, 0x1D172), (0x16FF0, 0x16FF1),
)  # fmt: skip
_CONTROLS = ((0x00, 0x1F), (0x7F, 0x9F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F))
_UNASSIGNED = (
    (0x0378, 0x0379), (0x0380, 0x0383), (0x05C8, 0x05CF), (0x2FE0, 0x2FEF), (0xE000, 0xF8FF),
    (0xFDD0, 0xFDEF), (0xFFF0, 0xFFFF), (0x1FFFE, 0x1FFFF), (0x3FFFE, 0x4FFFF),
    (0xE0000, 0xE01EF), (0xF0000, 0x10FFFF),
)  # fmt: skip
_SPACES = (
    " \t\n\r\v\f\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2000\u2003\u2009\u200a\u2028\u2029"
    "\u202f\u205f\u3000"
)
_FIXED = (
    "",
    " ",
    "\0",
    "a\0b",
    "\ufeff",
    "\ufffd",
    "İstanbul ΌΔΟΣ ǅ ẞ ﬃ Ⅻ",
    "e\u0301 e\u0323\u0301 e\u0301\u0323 \u0301e",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f3f3\ufe0f\u200d\U0001f308",
    "\U0001f1e9\U0001f1ea \U0001f44d\U0001f3fd",
    "don't can't we'll I'm they've he'd it's",
    "3.14 1,000,000 1e-5 0x1F ½ ² ①",
    "https://example.org/a_b?c=d&e=%20#f user@example.org",
    "def f(x):\n\treturn x  # twice",
)


def build_corpus(tokens: Sequence[str], special: Sequence[str], count: int = COUNT) -> list[str]:
    """Return different kinds of texts: `count` of them, or a few more.

    Args:
        tokens: Tokens of the vocabulary, which are joined to words.
        special: Special tokens, which some texts contain.
    """
    source = random.Random(_SEED)  # noqa: S311 - the texts must be the same in every run.
    texts = [*_FIXED, *_build_long_texts(tokens), *_build_special_texts(special)]
    kinds: tuple[Callable[[], str], ...] = (
        lambda: _join(source, lambda: _word_of_tokens(source, tokens)),
        lambda: _join(source, lambda: _word_of_tokens(source, tokens)),
        lambda: _join(source, lambda: _characters(source, [source.choice(_SCRIPTS)])),
        lambda: _characters(source, _SCRIPTS),
        lambda: _join(source, lambda: _characters(source, _IDEOGRAPHS)),
        lambda: _marked(source),
        lambda: _join(source, lambda: _characters(source, _EMOJI)),
        lambda: _mix(source, tokens, special, (*_CONTROLS, *_UNASSIGNED)),
        lambda: _mix(source, tokens, special, (*_SYMBOLS, *_EMOJI)),
        lambda: _mix(source, tokens, special, (*_IDEOGRAPHS, *_SCRIPTS, *_MARKS)),
        lambda: _anything(source),
    )
    while len(texts) < count:
        texts.append(kinds[len(texts) % len(kinds)]())
    return texts


def _build_long_texts(tokens: Sequence[str]) -> list[str]:
    word = next((token for token in tokens if token.isascii() and token.isalpha()), "a")
    lengths = (99, 100, 101, 102, 199, 200, 201, 1000, 5000)
    texts = ["a" * length for length in lengths]
    texts += [(word * length)[:length] for length in lengths]
    texts += ["é" * length for length in lengths] + ["x" * 98 + "中y", "a" * 100 + "!" + "b" * 101]
    texts += [f"{word} " * count for count in (125, 126, 127, 253, 254, 255, 510, 511, 512, 2000)]
    return [*texts, "! " * 600, "中" * 600, " " * 3000 + word, f"{word}\u0301" * 300]


def _build_special_texts(special: Sequence[str]) -> list[str]:
    texts = []
    for token in special:
        inside = f"{token[:1]}\u200b{token[1:]}"
        texts += [token, f"a{token}b", f"{token}{token}", f" {token} x", f"{token[:-1]}", inside]
        texts += [token.lower(), token.upper(), f"{token[:-1]}{token}", f"{token}{token[1:]}"]
    return texts


def _characters(source: random.Random, ranges: Sequence[tuple[int, int]], most: int = 12) -> str:
    found = []
    for _ in range(source.randint(1, most)):
        first, last = source.choice(ranges)
        found.append(chr(source.randint(first, last)))
    return "".join(found)


def _word_of_tokens(source: random.Random, tokens: Sequence[str]) -> str:
    word = "".join(source.choice(tokens).replace("##", "") for _ in range(source.randint(1, 3)))
    return source.choice((word, word, word.upper(), word.capitalize()))


def _join(source: random.Random, part: Callable[[], str]) -> str:
    text = ""
    for _ in range(source.randint(1, 12)):
        space = " " if source.random() < 0.8 else source.choice(_SPACES)
        text += part() + space * source.choice((1, 1, 1, 2, 0))
    return text


def _marked(source: random.Random) -> str:
    text = ""
    for _ in range(source.randint(1, 20)):
        text += _characters(source, _SCRIPTS, 2)
        if source.random() < 0.7:
            text += _characters(source, _MARKS, 4)
    return text


def _mix(
    source: random.Random,
    tokens: Sequence[str],
    special: Sequence[str],
    ranges: Sequence[tuple[int, int]],
) -> str:
    text = ""
    for _ in range(source.randint(1, 15)):
        kind = source.random()
        if kind < 0.5:
            text += _word_of_tokens(source, tokens)
        elif kind < 0.55 and special:
            text += source.choice(special)
        elif kind < 0.75:
            text += source.choice(_SPACES)
        else:
            text += _characters(source, ranges, 3)
    return text


def _anything(source: random.Random) -> str:
    """Return any code points except surrogates, which no text contains."""
    points = (source.randrange(0x110000 - 0x800) for _ in range(source.randint(1, 30)))
    return "".join(chr(point if point < 0xD800 else point + 0x800) for point in points)
