"""Texts as Transformers' pipeline for token classification reads them: which tokens are one word to it, and which words
one entity. Training, metrics and predictions follow it, so that a figure is what a user of the pipeline gets. Not a
task (leading underscore)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hf_tl.tasks._tags import parts

WITHOUT = -100
"""A label that the loss leaves out."""


@dataclass(frozen=True)
class Token:
    id: int
    start: int
    """Its first character in the text."""
    end: int


@dataclass(frozen=True)
class Found:
    """A word of the pipeline with what the model says of its first token."""

    tag: str
    score: float
    start: int
    end: int


def joined(words: Sequence[str]) -> str:
    """The text that words are read as."""
    return " ".join(words)


def text_of(row: Any) -> str:
    """A row's text, or its words as one."""
    return str(row["text"]) if row.get("text") else joined(row["words"])


def starts_of(words: Sequence[str], text: str) -> list[int]:
    """Where in `text`, which holds them in order, each of `words` begins."""
    out, at = [], 0
    for word in words:
        out.append(text.index(word, at))
        at = out[-1] + len(word)
    return out


def word_at(words: Sequence[str], text: str) -> list[int]:
    """Of each character of `text` the index of its word, -1 after the last; what stands between words belongs to the
    one that it comes before, as the space in the tokens of byte-level tokenizers."""
    out: list[int] = []
    for index, (word, start) in enumerate(zip(words, starts_of(words, text), strict=True)):
        out += [index] * (start + len(word) - len(out))
    return out + [-1] * (len(text) - len(out))


def begins_word(token: Token, text: str, tokenizer: Any, first: bool) -> bool:
    """Whether the pipeline begins a word with a token.

    With `##` it compares the token's length with the text's; without, it looks for a space before the token or at its
    beginning. An unknown token is a word.
    """
    if first or token.id == tokenizer.unk_token_id:
        return True
    backend = getattr(tokenizer, "_tokenizer", None)
    if backend is not None and getattr(backend.model, "continuing_subword_prefix", None):
        return len(tokenizer.convert_ids_to_tokens(token.id)) == len(text[token.start : token.end])
    return not (token.start > 0 and " " not in text[token.start - 1 : token.start + 1])


def numbered(tokens: Sequence[Token], text: str, tokenizer: Any) -> list[int]:
    """Of each token of a whole text the index of the pipeline's word that it is in."""
    out, word = [], -1
    for at, token in enumerate(tokens):
        word += begins_word(token, text, tokenizer, at == 0)
        out.append(word)
    return out


def places(tokens: Sequence[Token], words: Sequence[int], given: Sequence[str], text: str) -> list[tuple[int, str]]:
    """Of each token (index of the word of the data, what it is there): `opens` it, goes on `inside`, stands `before`
    its text, or is `within` a word of the pipeline, which looks at its first token alone.

    Args:
        words: `numbered`.
        given: the words of the data, and the `text` that they are in.
    """
    where = word_at(given, text)
    out, opened = [(-1, "within")] * len(tokens), -1
    firsts = [at for at, word in enumerate(words) if at == 0 or word != words[at - 1]]
    for at, following in zip(firsts, [*firsts[1:], None], strict=True):
        token = tokens[at]
        word = where[token.start] if token.start < len(where) else -1
        if word < 0:
            continue
        then = tokens[following] if following is not None else None
        same = then is not None and then.start < len(where) and where[then.start] == word
        bare = then is not None and (then.start < token.end or not text[token.start : token.end].strip())
        out[at] = (word, "inside" if word == opened else "before" if same and bare else "opens")
        opened = word if out[at][1] == "opens" else opened
    return out


def label_at(place: tuple[int, str], tags: Sequence[str | None], ids: dict[str, int]) -> int:
    """The label that a token is trained on.

    Where the pipeline makes several words of one that was given, the first is its tag and the others go on inside
    (I-); what stands before its text, as the lone mark of a beginning in XLM-R, is outside of an entity that begins
    (O), so that the entity begins where its text does.

    Args:
        place: of `places`.
        tags: of the words of the data; None where it is not known.
        ids: tag -> id.
    """
    word, what = place
    tag = tags[word]
    if what == "within" or tag is None:
        return WITHOUT
    position, entity = parts(tag)
    if what == "opens" or position != "B":
        return ids[tag]
    return ids.get("O" if what == "before" else f"I{tag[1]}{entity}", WITHOUT)


def entities_of(words: Sequence[Found]) -> Iterator[dict[str, Any]]:
    """`{entity_group, score, start, end}` of each entity: neighbours of one kind, of which a B- begins the next."""
    group: list[Found] = []
    for word in words:
        if group and _kind(word.tag)[1] == _kind(group[-1].tag)[1] and _kind(word.tag)[0] != "B":
            group.append(word)
            continue
        yield from _entity(group)
        group = [word]
    yield from _entity(group)


def _kind(tag: str) -> tuple[str, str]:
    """(B or I, the kind) as the pipeline takes a tag apart."""
    return (tag[0], tag[2:]) if tag[:2] in ("B-", "I-") else ("I", tag)


def _entity(group: list[Found]) -> Iterator[dict[str, Any]]:
    if not group:
        return
    name = group[0].tag.partition("-")[2] or group[0].tag
    if name != "O":
        score = sum(word.score for word in group) / len(group)
        yield {"entity_group": name, "score": score, "start": group[0].start, "end": group[-1].end}


def without_spaces(entity: dict[str, Any], text: str) -> tuple[int, int]:
    """(start, end) without the space that byte-level tokens begin with."""
    found = text[entity["start"] : entity["end"]]
    return entity["start"] + len(found) - len(found.lstrip()), entity["end"] - len(found) + len(found.rstrip())


@dataclass(frozen=True)
class Read:
    """What a model says of one of the pipeline's words."""

    label: int
    score: float
    start: int
    end: int
    opens: int
    """The word of the data whose tag it is; -1: none."""


def by_word(outputs: Any, samples: Any, rows: Any) -> list[dict[int, Read]]:
    """For each row: the pipeline's word -> what is said of it; a word that two windows read is taken from the one where
    it stands farther from the edge."""
    found: list[dict[int, Read]] = [{} for _ in range(len(rows))]
    margins: dict[tuple[int, int], int] = {}
    for (best, scores), sample in zip(outputs, samples, strict=True):
        row, ids = sample["row"], sample["word_ids"]
        ends: dict[int, int] = {}
        starts: dict[int, int] = {}
        for at, word in enumerate(ids):
            if word < 0:
                continue
            start, ends[word] = sample["offsets"][at]
            if word in starts:
                continue
            starts[word] = start
            margin = min(at, len(ids) - at)
            if margin > margins.get((row, word), -1):
                margins[row, word] = margin
                found[row][word] = Read(int(best[at]), float(scores[at]), start, ends[word], sample["opens"][at])
        for word, start in starts.items():
            if found[row][word].start == start:
                found[row][word] = replace(found[row][word], end=ends[word])
    return found


def read(words: dict[int, Read], row: Any, labels: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """(entities, as `pipeline(..., aggregation_strategy="first")` gives them; the tag of each word of the data, of a
    bare text of each of the pipeline's)."""
    ordered = [words[word] for word in sorted(words)]
    said = [Found(labels[each.label], each.score, each.start, each.end) for each in ordered]
    given = row.get("words")
    tags = ["O"] * len(given) if given else [each.tag for each in said]
    for each, word in zip(said, ordered, strict=True):
        if given and word.opens >= 0:
            tags[word.opens] = each.tag
    return list(entities_of(said)), tags


def prefix_space(tokenizer: Any) -> None:
    """Has a byte-level tokenizer, in place, write the first word of a text as any other, with a space before it: then
    a text and the list of its words give the same tokens."""
    import json

    from tokenizers import Tokenizer

    backend = getattr(tokenizer, "_tokenizer", None)
    if backend is None:
        return
    said = json.loads(backend.to_str())
    before = said.get("pre_tokenizer") or {}
    if before.get("type") != "ByteLevel" or before.get("add_prefix_space"):
        return
    before["add_prefix_space"] = True
    after = said.get("post_processor") or {}
    for each in [after, *after.get("processors", ())]:
        if each.get("type") in ("ByteLevel", "RobertaProcessing"):
            each["add_prefix_space"] = True  # else the space that was put in is counted as one of the text
    made = Tokenizer.from_str(json.dumps(said))
    backend.pre_tokenizer = made.pre_tokenizer
    if made.post_processor is not None:
        backend.post_processor = made.post_processor
    tokenizer.add_prefix_space = True
    tokenizer.init_kwargs["add_prefix_space"] = True
