"""Cleaning of text, and the reasons for which a single row cannot be learnt from."""

import re
import unicodedata
from dataclasses import replace

from pawl_trainer.preprocessing.rows import Message, Row

# Zero-width characters and the byte-order mark look like nothing and split words for the tokenizer.
INVISIBLE = re.compile("[\u200b\u200c\u200d\u2060\ufeff\u00ad]")
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
TRAILING = re.compile(r"[ \t\u00a0]+(?=\n|$)")
BLANK_LINES = re.compile(r"\n{3,}")
# An answer that ends in none of these was most likely cut at the token limit.
SENTENCE_END = (".", "!", "?", "…", ":", '"', "'", "”", "’", ")", "]", "}", "`", "*", "|", "。", "！", "？")


def clean_text(text: str) -> str:
    """NFC, one kind of line end, nothing invisible, no trailing blanks; inner spaces stay, because code needs them."""
    text = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n")
    text = CONTROL.sub("", INVISIBLE.sub("", text))
    # removing marks can bring a base letter and an accent together, so compose once more
    return unicodedata.normalize("NFC", BLANK_LINES.sub("\n\n", TRAILING.sub("", text)).strip())


def clean_row(row: Row) -> Row:
    """The row with every text cleaned."""
    return replace(
        row,
        messages=tuple(Message(message.role, clean_text(message.content)) for message in row.messages),
        completion=None if row.completion is None else clean_text(row.completion),
        chosen=None if row.chosen is None else clean_text(row.chosen),
        rejected=None if row.rejected is None else clean_text(row.rejected),
    )


def looks_cut(text: str) -> bool:
    """Whether an answer of unknown ending seems to stop in mid-sentence. Lists and short labels count as whole."""
    last = text.rstrip().rsplit("\n", 1)[-1]
    return len(last.split()) > 6 and not last.endswith(SENTENCE_END)


def malformed(row: Row) -> str | None:
    """Why a (cleaned) row is no example at all, or None."""
    if not any(message.role == "user" and message.content for message in row.messages):
        return "no question"
    if not all(row.texts):
        return "empty answer"
    if row.kind == "pair" and row.chosen == row.rejected:
        return "both answers equal"
    return "no label" if row.kind == "binary" and row.label is None else None


def cut_model(row: Row) -> str | None:
    """Why a row may not be imitated, or None.

    The chat template would end a cut answer in mid-sentence, and the model would learn to stop there. As a bad example
    a cut answer is fine (its false end is taken off again).
    """
    if row.kind == "pair":
        return "preferred answer cut" if row.origin == "comparison" and looks_cut(row.chosen or "") else None
    wanted = row.kind == "demonstration" or row.label
    return "liked answer cut at the token limit" if wanted and not row.finished else None
