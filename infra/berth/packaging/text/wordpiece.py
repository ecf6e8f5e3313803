"""WordPiece, the tokenizer of BERT, as ONNX operators that ONNX Runtime itself contains.

The operators of onnxruntime-extensions 0.15.2 (BertTokenizer, WordpieceTokenizer) are not used: for
a word whose end is in no token they keep its beginning, where Hugging Face returns one unknown
token; they allow 200 instead of 100 characters in a word; and they have their own Unicode tables.

A row is tokenized in these steps. Each is a fixed number of operators, whatever the text is.

1. Split the text into characters, and replace each by a number (`characters`).
2. Replace special tokens that the text contains, such as [SEP], by one number each.
3. Replace each character by the numbers of its normalized characters. 1 is a border of words.
4. From each position, follow the longest token in a trie (a tree of characters).
5. Follow the tokens from the start of each word. A word with a gap is one unknown token.
6. Truncate, and add the tokens at the beginning and the end.
"""

from collections.abc import Mapping

import numpy as np

from berth.packaging.errors import PackageError
from berth.packaging.text.characters import build_class
from berth.packaging.text.graph import GraphBuilder
from berth.packaging.text.vocabulary import (
    AT_START,
    BORDER,
    LATER,
    NOWHERE,
    REMOVED,
    UNKNOWN_CLASS,
    Numbers,
    WordPiece,
)


def add_wordpiece(graph: GraphBuilder, texts: str, tokenizer: WordPiece) -> tuple[str, str]:
    """Add operators that tokenize each text of a tensor with one dimension.

    Returns:
        The names of the IDs, filled up to the longest row, and of the numbers of IDs in each row.

    Raises:
        PackageError: If the tokenizer has a property that these operators do not support.
    """
    from onnx import TensorProto, helper

    body = graph.begin_body()
    row = body.add("Gather", texts, body.reshape("berth_row", 1))
    ids, length = _add_row(body, row, tokenizer)
    body.nodes += [
        helper.make_node("Identity", ["berth_continue"], ["berth_go_on"]),
        helper.make_node("Identity", [ids], ["berth_row_ids"]),
        helper.make_node("Identity", [length], ["berth_row_length"]),
    ]
    info = helper.make_tensor_value_info
    loop = body.graph(
        "berth_tokenize_row",
        [
            info("berth_row", TensorProto.INT64, []),
            info("berth_continue", TensorProto.BOOL, []),
        ],
        [
            info("berth_go_on", TensorProto.BOOL, []),
            info("berth_row_ids", TensorProto.INT64, [tokenizer.max_tokens]),
            info("berth_row_length", TensorProto.INT64, [1]),
        ],
    )
    rows = graph.add("Gather", graph.add("Shape", texts), graph.constant(0))
    outputs = ["berth_padded_ids", "berth_lengths"]
    graph.nodes.append(helper.make_node("Loop", [rows, ""], outputs, body=loop))
    longest = graph.reduce("ReduceMax", "berth_lengths", 0)
    return (
        graph.add("Slice", "berth_padded_ids", graph.constant([0]), longest, graph.constant([1])),
        "berth_lengths",
    )


def _add_row(graph: GraphBuilder, row: str, tokenizer: WordPiece) -> tuple[str, str]:
    numbers = Numbers(tokenizer)
    characters = graph.characters(row)
    classes = graph.lookup(characters, numbers.classes, UNKNOWN_CLASS)
    classes = _add_rare_classes(graph, characters, classes, numbers)
    classes = _replace(
        graph,
        classes,
        {
            tuple(numbers.classes[c] for c in token): numbers.first_special + place
            for place, token in enumerate(tokenizer.special)
        },
        fill=REMOVED,
    )
    width = max(map(len, numbers.expansions))
    expansions = np.zeros((len(numbers.expansions), width), np.int64)
    for place, expansion in enumerate(numbers.expansions):
        expansions[place, : len(expansion)] = expansion
    spread = graph.reshape(graph.add("Gather", graph.constant(expansions), classes), -1)
    codes = graph.add("Compress", spread, graph.to(spread, np.bool_))
    codes = _replace(
        graph,
        codes,
        {
            numbers.read_pattern(token): numbers.normalized_code + place
            for place, token in enumerate(tokenizer.normalized)
        },
        fill=BORDER,
    )
    ids = _add_words(graph, codes, tokenizer, numbers)
    room = tokenizer.max_tokens - len(tokenizer.first) - len(tokenizer.last)
    ids = graph.slice(ids, graph.constant([0]), graph.constant([room]))
    parts = [graph.constant(tokenizer.first), ids, graph.constant(tokenizer.last)]
    ids = graph.add("Concat", *parts, axis=0)
    length = graph.size(ids)
    padding = graph.constant([tokenizer.padding] * tokenizer.max_tokens)
    missing = graph.add("Sub", graph.constant([tokenizer.max_tokens]), length)
    fill = graph.slice(padding, graph.constant([0]), missing)
    return graph.add("Concat", ids, fill, axis=0), length


def _add_rare_classes(graph: GraphBuilder, characters: str, classes: str, numbers: Numbers) -> str:
    """Find the classes of characters that are in no token, if the text has such characters."""
    from onnx import TensorProto, helper

    is_rare = graph.equals(classes, UNKNOWN_CLASS)
    some = graph.reduce(
        "ReduceMax",
        graph.add("Concat", graph.to(is_rare, np.int64), graph.constant([0]), axis=0),
        0,
    )
    rare, usual = graph.begin_body(), graph.begin_body()
    result = classes
    for place, members in numbers.unlisted.items():
        if members:
            found = rare.matches(characters, build_class(members), members[0])
            is_match = rare.add("And", rare.to(found, np.bool_), is_rare)
            result = rare.add("Where", is_match, rare.constant(place), result)
    branches = {}
    for name, branch, value in (("then", rare, result), ("else", usual, classes)):
        output = branch.add("Identity", value)
        info = helper.make_tensor_value_info(output, TensorProto.INT64, [None])
        branches[f"{name}_branch"] = branch.graph(f"berth_{name}", [], [info])
    return graph.add("If", graph.to(some, np.bool_), **branches)


def _replace(
    graph: GraphBuilder, numbers: str, tokens: Mapping[tuple[int, ...], int], *, fill: int
) -> str:
    """Replace the numbers of each token by its own number and, from the second, by `fill`.

    Tokens are compared as one number each, whose digits are their characters.
    """
    if not tokens:
        return numbers
    for token in tokens:
        for other in tokens:
            starts = (other[:size] for size in range(1, len(other) + (token != other)))
            if any(token[len(token) - len(start) :] == start for start in starts) or (
                token != other and _contains(token, other)
            ):
                raise PackageError("two of its added tokens can overlap in a text")
    used = sorted({number for token in tokens for number in token})
    base = len(used) + 1
    lengths = sorted({len(token) for token in tokens})
    if base ** lengths[-1] >= 2**63:
        raise PackageError(f"its longest added token has {lengths[-1]} characters, too many")

    digit = {number: place + 1 for place, number in enumerate(used)}
    digits = np.zeros(used[-1] + 2, np.int64)
    digits[used] = np.arange(1, base)
    weights = np.array([[base**j if j < n else 0 for n in lengths] for j in range(lengths[-1])])
    keys = {
        sum(digit[number] * base**j for j, number in enumerate(token)): place + 1
        for place, token in enumerate(tokens)
    }
    size = graph.size(numbers)
    window = graph.add(
        "Add", graph.reshape(graph.count_up(size), -1, 1), graph.constant(range(lengths[-1]))
    )
    last_digit = graph.constant(len(digits) - 1)
    known = graph.add("Where", graph.add("Less", numbers, last_digit), numbers, last_digit)
    values = graph.add("Gather", graph.constant(digits), known)
    padded = graph.add("Concat", values, graph.constant([0] * lengths[-1]), axis=0)
    values = graph.add("Gather", padded, window)
    found = graph.lookup(graph.add("MatMul", values, graph.constant(weights)), keys, 0)
    which = graph.reduce("ReduceMax", found, 1)
    sizes = graph.constant([0, *(len(token) for token in tokens)])
    # A token ends where it starts, plus its length. What is not a token ends in the last place.
    ends = graph.add("Add", graph.count_up(size), graph.add("Gather", sizes, which))
    is_token = graph.to(which, np.bool_)
    last = graph.add("Add", size, graph.constant([lengths[-1]]))
    one = graph.constant([1])
    places = graph.add("Where", is_token, ends, last)
    room = graph.add("ConstantOfShape", graph.add("Add", last, one), value=_zero())
    ones = graph.add("ConstantOfShape", size, value=_one())
    ended = graph.add("ScatterElements", room, places, ones, axis=0)
    axis = graph.constant(0)
    open_now = graph.add(
        "Sub",
        graph.add("CumSum", graph.to(is_token, np.int64), axis),
        graph.add("CumSum", graph.slice(ended, graph.constant([0]), size), axis),
    )
    rest = graph.add("Where", graph.to(open_now, np.bool_), graph.constant(fill), numbers)
    replacements = graph.add("Gather", graph.constant([0, *tokens.values()]), which)
    return graph.add("Where", is_token, replacements, rest)


def _contains(token: tuple[int, ...], other: tuple[int, ...]) -> bool:
    places = range(len(token) - len(other) + 1)
    return any(token[place : place + len(other)] == other for place in places)


def _add_words(graph: GraphBuilder, codes: str, tokenizer: WordPiece, numbers: Numbers) -> str:
    """Return the IDs of normalized text."""
    axis, zero, one = graph.constant(0), graph.constant([0]), graph.constant([1])
    # The text ends with a border.
    codes = graph.add("Concat", codes, one, axis=0)
    before = graph.add("Concat", one, codes, axis=0)
    is_border = graph.equals(codes, BORDER)
    was_border = graph.equals(graph.slice(before, zero, graph.size(codes)), BORDER)
    starts = graph.add("And", was_border, graph.add("Not", is_border))
    # Words are counted from 1; 0 is before the first.
    words = graph.add("CumSum", graph.to(starts, np.int64), axis)
    is_long = _find_long_words(graph, is_border, starts, tokenizer.longest_word)
    is_long = graph.add("Concat", zero, is_long, axis=0)
    # Characters that have no effect would take time: those of long words after the first, and words
    # beyond the maximum number of tokens, because each has at least one.
    is_short = graph.equals(graph.add("Gather", is_long, words), 0)
    matters = graph.add("Or", graph.add("Or", is_border, starts), is_short)
    is_early = graph.add("Less", words, graph.constant(tokenizer.max_tokens + 1))
    keep = graph.add("And", matters, is_early)
    codes, words = graph.add("Compress", codes, keep), graph.add("Compress", words, keep)
    is_border, starts = (graph.add("Compress", value, keep) for value in (is_border, starts))
    size = graph.size(codes)

    lengths, token_ids = _add_longest_tokens(graph, codes, starts, tokenizer, numbers)
    is_token = graph.to(lengths, np.bool_)
    positions = graph.count_up(size)
    # Follow the tokens from each start. A position without a token leads to the place after the
    # last, which leads to itself. The distance doubles with each step.
    following = graph.add("Where", is_token, graph.add("Add", positions, lengths), size)
    following = graph.add("Concat", following, size, axis=0)
    reached = graph.add("Concat", graph.to(starts, np.int64), zero, axis=0)
    everywhere = graph.add("ConstantOfShape", graph.size(following), value=_one())
    for _ in range(max(1, (tokenizer.longest_word - 1).bit_length())):
        places = graph.add("Where", graph.to(reached, np.bool_), following, size)
        reached = graph.add("ScatterElements", reached, places, everywhere, axis=0)
        following = graph.add("Gather", following, following)
    is_reached = graph.to(graph.slice(reached, zero, size), np.bool_)
    is_inside = graph.add("And", is_reached, graph.add("Not", is_border))

    # Word 0 collects everything that is not a gap.
    gaps = graph.add("And", is_inside, graph.add("Not", is_token))
    gap_words = graph.add("Where", gaps, words, graph.constant(0))
    count = graph.add("Add", graph.slice(words, graph.constant([-1]), graph.constant([2**31])), one)
    room = graph.add("ConstantOfShape", count, value=_zero())
    ones = graph.add("ConstantOfShape", size, value=_one())
    has_gap = graph.add("ScatterElements", room, gap_words, ones, axis=0)
    is_long = graph.slice(is_long, zero, count)
    is_bad = graph.to(graph.add("Gather", graph.add("Add", has_gap, is_long), words), np.bool_)
    emitted = graph.add(
        "Or",
        graph.add("And", is_inside, graph.add("Not", is_bad)),
        graph.add("And", starts, is_bad),
    )
    ids = graph.add("Where", is_bad, graph.constant(tokenizer.unknown), token_ids)
    return graph.add("Compress", ids, emitted)


def _find_long_words(graph: GraphBuilder, is_border: str, starts: str, longest: int) -> str:
    """Return 1 for each word with more than `longest` characters, else 0."""
    inside = graph.to(graph.add("Not", is_border), np.int64)
    counted = graph.add("CumSum", inside, graph.constant(0))
    before = graph.add("Compress", graph.add("Sub", counted, inside), starts)
    total = graph.slice(counted, graph.constant([-1]), graph.constant([2**31]))
    after = graph.add(
        "Slice",
        graph.add("Concat", before, total, axis=0),
        graph.constant([1]),
        graph.constant([2**31]),
    )
    length = graph.add("Sub", after, before)
    return graph.to(graph.add("Greater", length, graph.constant(longest)), np.int64)


def _add_longest_tokens(
    graph: GraphBuilder, codes: str, starts: str, tokenizer: WordPiece, numbers: Numbers
) -> tuple[str, str]:
    """Return the length (0: none) and the ID of the longest token at each position."""
    trie = numbers.build_trie(tokenizer)
    base = numbers.code_count
    # A state is a multiple of `base`, so that a state plus a code is an edge.
    # Tokens are ranked by their length, so that the longest has the highest rank.
    ranked = sorted(trie.ends.items(), key=lambda end: (end[1][0], end[0]))
    ranks = {state * base: place + 1 for place, (state, _) in enumerate(ranked)}
    size = graph.size(codes)
    padded = graph.add("Concat", codes, graph.constant([BORDER] * len(trie.edges)), axis=0)
    window = graph.add(
        "Add",
        graph.constant(np.arange(len(trie.edges)).reshape(-1, 1)),
        graph.count_up(size),
    )
    columns = graph.split(graph.add("Gather", padded, window), len(trie.edges))
    state = graph.add(
        "Where", starts, graph.constant(AT_START * base), graph.constant(LATER * base)
    )
    state = graph.reshape(state, 1, -1)
    states = []
    for column, edges in zip(columns, trie.edges, strict=True):
        table = {state * base + code: to * base for (state, code), to in edges.items()}
        state = graph.lookup(graph.add("Add", state, column), table, NOWHERE)
        states.append(state)
    rank = graph.lookup(graph.add("Concat", *states, axis=0), ranks, 0)
    best = graph.reduce("ReduceMax", rank, 0)
    lengths = graph.constant([0, *(length for _, (length, _) in ranked)])
    token_ids = graph.constant([0, *(token_id for _, (_, token_id) in ranked)])
    return graph.add("Gather", lengths, best), graph.add("Gather", token_ids, best)


def _zero() -> "object":
    from onnx import numpy_helper

    return numpy_helper.from_array(np.zeros(1, np.int64))


def _one() -> "object":
    from onnx import numpy_helper

    return numpy_helper.from_array(np.ones(1, np.int64))
