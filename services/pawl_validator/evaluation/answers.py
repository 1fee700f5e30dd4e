"""What is wrong with an answer, by simple rules: too short, repetitive. Pure."""

from __future__ import annotations

SHORT_WORDS = 3  # approval can be gamed by answers of two words; no probe prompt is answered well with fewer
LOOP_WORDS = 4  # a word four times in a row
REPEATED_SHARE = 0.4  # of its three-word phrases; lists and definitions of a sound model stay below 0.3
REPEATED_FROM = 12  # words from which the share means something


def is_short(answer: str) -> bool:
    """Empty, or fewer words than a sentence needs."""
    return len(answer.split()) < SHORT_WORDS


def is_repetitive(answer: str) -> bool:
    """The same word again and again, or mostly phrases that were there before."""
    words = answer.lower().split()
    if any(len(set(words[i : i + LOOP_WORDS])) == 1 for i in range(len(words) - LOOP_WORDS + 1)):
        return True
    if any(len(word) >= 24 and len(set(word)) <= 4 for word in words):  # aaaaaaaa, !!!!!!!! without a space
        return True
    phrases = list(zip(words, words[1:], words[2:], strict=False))
    return len(words) >= REPEATED_FROM and 1 - len(set(phrases)) / len(phrases) > REPEATED_SHARE
