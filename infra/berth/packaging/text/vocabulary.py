"""The vocabulary of a WordPiece tokenizer as numbers: of characters, and of states of a trie."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from berth.packaging.errors import PackageError
from berth.packaging.text.characters import UNKNOWN

BORDER = 1
"""The code between words."""

_UNKNOWN_CODE = 2
_FIRST_CODE = 3

REMOVED, UNKNOWN_CLASS, ISOLATED = 0, 1, 2
"""Classes of characters: removed, unknown, and an unknown word by itself."""

NOWHERE, AT_START, LATER = 0, 1, 2
"""States: nowhere, and before the first character of a word and of a later token in a word."""

# Each character of the longest token costs one operator.
_LONGEST_TOKEN = 200


@dataclass(frozen=True)
class WordPiece:
    """A WordPiece tokenizer.

    Attributes:
        vocabulary: Token -> its ID.
        characters: Character -> text that replaces it; see `read_character_table`.
        special: Special token that a text may contain -> its ID.
        normalized: The same for tokens that normalized text may contain. They begin and end with a
            character that is a word by itself.
        unknown: ID of a word that is not made of tokens.
        continuation: Prefix of a token that is not the first of its word.
        longest_word: Characters from which on a word is unknown, exclusively.
        first, last: IDs before and after those of the text.
        padding: ID that fills up shorter rows.
        max_tokens: Maximum number of IDs, with `first` and `last`.
    """

    vocabulary: Mapping[str, int]
    characters: Mapping[str, str]
    special: Mapping[str, int]
    normalized: Mapping[str, int]
    unknown: int
    continuation: str
    longest_word: int
    first: Sequence[int]
    last: Sequence[int]
    padding: int
    max_tokens: int


@dataclass
class Trie:
    """A tree of the characters of tokens.

    Attributes:
        states: Number of states.
        edges: For each distance from the start, (state, code) -> next state.
        ends: State -> length and ID of the token that ends there.
    """

    states: int = 3
    edges: list[dict[tuple[int, int], int]] = field(default_factory=list)
    ends: dict[int, tuple[int, int]] = field(default_factory=dict)

    def add(self, root: int, codes: Sequence[int], token_id: int) -> None:
        """Add the characters of a token from the state `root`."""
        state = root
        for distance, code in enumerate(codes):
            if distance == len(self.edges):
                self.edges.append({})
            edges = self.edges[distance]
            if (state, code) not in edges:
                edges[state, code] = self.states
                self.states += 1
            state = edges[state, code]
        self.ends[state] = (len(codes), token_id)


class Numbers:
    """The numbers of characters: in normalized text (codes), and in the original text (classes).

    Attributes:
        unlisted: Characters of the classes REMOVED and ISOLATED. Regular expressions find them,
            because they are too many for the list `classes`.
    """

    def __init__(self, tokenizer: WordPiece) -> None:
        cut = len(tokenizer.continuation)
        tokens = tokenizer.vocabulary
        alphabet = sorted(
            {c for token in tokens for c in token}
            | {c for t in tokens if t.startswith(tokenizer.continuation) for c in t[cut:]}
        )
        self.codes = {c: _FIRST_CODE + place for place, c in enumerate(alphabet)}
        self.codes |= {" ": BORDER, UNKNOWN: _UNKNOWN_CODE}
        self.special_code = _FIRST_CODE + len(alphabet)
        self.normalized_code = self.special_code + len(tokenizer.special)
        self.code_count = self.normalized_code + len(tokenizer.normalized)
        # Classes 0 to 2 are those of most characters. Each character of a special token has its own
        # class, and the last classes are the special tokens.
        self.expansions: list[tuple[int, ...]] = [
            (),
            (_UNKNOWN_CODE,),
            (BORDER, _UNKNOWN_CODE, BORDER),
        ]
        self.classes: dict[str, int] = {}
        known = {expansion: place for place, expansion in enumerate(self.expansions)}
        marked = dict.fromkeys(sorted({c for token in tokenizer.special for c in token}))
        # Most of the 1.1 million characters have one of few replacements.
        numbers: dict[str, int] = {}
        members: list[list[str]] = [[] for _ in self.expansions]
        for character, text in tokenizer.characters.items():
            if character in marked:
                continue
            if text not in numbers:
                expansion = tuple(self.codes[c] for c in text)
                numbers[text] = known.setdefault(expansion, len(self.expansions))
                if numbers[text] == len(self.expansions):
                    self.expansions.append(expansion)
            if (number := numbers[text]) <= ISOLATED:
                members[number].append(character)
            else:
                self.classes[character] = number
        self.unlisted = {place: members[place] for place in (REMOVED, ISOLATED)}
        for character in marked:
            text = tokenizer.characters.get(character, UNKNOWN)
            self.classes[character] = len(self.expansions)
            self.expansions.append(tuple(self.codes[c] for c in text))
        self.first_special = len(self.expansions)
        self.expansions += [
            (BORDER, self.special_code + place, BORDER) for place in range(len(tokenizer.special))
        ]

    def read_pattern(self, token: str) -> tuple[int, ...]:
        """Return the codes of a token in normalized text, without the borders at its sides."""
        codes = [code for c in token for code in self.expansions[self.classes.get(c, 1)]]
        if len(codes) < 3 or (codes[0], codes[-1]) != (BORDER, BORDER) or _UNKNOWN_CODE in codes:
            raise PackageError(f"its added token {token!r} is recognized within words")
        return tuple(codes[1:-1])

    def build_trie(self, tokenizer: WordPiece) -> Trie:
        """Return the tokens as a trie.

        Raises:
            PackageError: If a token is too long.
        """
        trie = Trie()
        cut = len(tokenizer.continuation)
        for token, token_id in tokenizer.vocabulary.items():
            if token:
                trie.add(AT_START, [self.codes[c] for c in token], token_id)
            if token.startswith(tokenizer.continuation) and token[cut:]:
                trie.add(LATER, [self.codes[c] for c in token[cut:]], token_id)
        added = (*tokenizer.special.values(), *tokenizer.normalized.values())
        for place, token_id in enumerate(added):
            trie.add(AT_START, [self.special_code + place], token_id)
        if len(trie.edges) > _LONGEST_TOKEN:
            raise PackageError(
                f"its longest token has {len(trie.edges)} characters; at most {_LONGEST_TOKEN} are "
                "supported"
            )
        return trie
