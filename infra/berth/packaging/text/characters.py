"""How a tokenizer treats each Unicode character, read from Hugging Face's own implementation."""

import re
import sys
import unicodedata
from collections.abc import Iterable
from typing import Any

import numpy as np

UNKNOWN = "\ufdd0"
"""Replacement for each character that is in no token. Unicode reserves it as "not a character"."""

# Each character is shown to the tokenizer between two letters that it never changes or removes.
_EDGE = "a"
_BETWEEN = "qz"
_BLOCK = 2048
_ASKED_AT_ONCE = 64


def read_character_table(tokenizer: Any, alphabet: set[str]) -> dict[str, str]:
    """Ask `tokenizer`, a `tokenizers.Tokenizer`, about each of the 1,112,064 characters.

    This is exact for normalizers and pre-tokenizers that treat each character by itself, such as
    those of BERT. It needs no Unicode tables, whose versions could differ.

    Args:
        alphabet: Characters of the tokens.

    Returns:
        Character -> text that replaces it, with a space at each border of a word. A character that
        is not in the result is replaced by `UNKNOWN`.
    """
    reader = _Reader(tokenizer, alphabet)
    for start in range(0, sys.maxunicode + 1, _BLOCK):
        if not 0xD800 <= start <= 0xDFFF:
            reader.read([chr(c) for c in range(start, start + _BLOCK)])
    return reader.table


def build_class(characters: Iterable[str]) -> str:
    """Return a regular expression (RE2) that matches one of the characters."""
    points = np.sort(np.fromiter(map(ord, characters), np.int64))
    ranges = np.split(points, np.flatnonzero(np.diff(points) != 1) + 1)
    return "[" + "".join(f"\\x{{{each[0]:X}}}-\\x{{{each[-1]:X}}}" for each in ranges) + "]"


def find_reordered_marks(table: dict[str, str]) -> list[str]:
    """Return the characters in the replacements whose order a decomposition (NFD) may change.

    Decomposition sorts adjacent marks by their combining class, so these characters are not treated
    by themselves. Marks of a single class are never sorted.
    """
    marks = {m for text in set(table.values()) for m in text if unicodedata.combining(m)}
    return sorted(marks) if len({unicodedata.combining(mark) for mark in marks}) > 1 else []


class _Reader:
    """Fills a table, block by block. Blocks of similar characters need a single question."""

    def __init__(self, tokenizer: Any, alphabet: set[str]) -> None:
        self.table: dict[str, str] = {}
        self._tokenizer = tokenizer
        self._alphabet = alphabet

    def read(self, block: list[str]) -> None:
        text = f"{_EDGE}{''.join(block)}{_EDGE}"
        words = self._split(text)
        if words == [f"{_EDGE}{_EDGE}"]:
            self.table.update(dict.fromkeys(block, ""))
        elif words == [text]:
            self.table.update((c, c) for c in block if c in self._alphabet)
        elif words == [_EDGE, *block, _EDGE] and self._are_isolated(block):
            self.table.update((c, f" {c if c in self._alphabet else UNKNOWN} ") for c in block)
        elif len(block) > _ASKED_AT_ONCE:
            middle = len(block) // 2
            self.read(block[:middle])
            self.read(block[middle:])
        else:
            self._read_each(block)

    def _are_isolated(self, block: list[str]) -> bool:
        """Return whether each character is a word, also next to a letter."""
        words = self._split(f"{_EDGE}{_EDGE.join(block)}{_EDGE}")
        return words[1::2] == block and words[::2] == [_EDGE] * (len(block) + 1)

    def _read_each(self, block: list[str]) -> None:
        separator = f" {_BETWEEN} "
        groups: list[list[str]] = [[]]
        for word in self._split(separator.join(f"{_EDGE}{c}{_EDGE}" for c in block)):
            if word == _BETWEEN:
                groups.append([])
            else:
                groups[-1].append(word)
        for character, group in zip(block, groups, strict=True):
            replacement = self._reduce(" ".join(group)[len(_EDGE) : -len(_EDGE)])
            if replacement != UNKNOWN:
                self.table[character] = replacement

    def _reduce(self, replacement: str) -> str:
        """Replace a part of a word by one `UNKNOWN` if it has a character that is in no token.

        The number of its characters is irrelevant: the word is unknown, too long or not.
        """
        parts = re.split("( +)", replacement)
        return "".join(p if set(p) <= self._alphabet | {" "} else UNKNOWN for p in parts)

    def _split(self, text: str) -> list[str]:
        if self._tokenizer.normalizer is not None:
            text = self._tokenizer.normalizer.normalize_str(text)
        return [word for word, _ in self._tokenizer.pre_tokenizer.pre_tokenize_str(text)]
