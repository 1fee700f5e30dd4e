"""A byte-level tokenizer that takes no training: single bytes, some words of JSON, and the marks of a chat."""

from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

END = "<|im_end|>"


def write_small_tokenizer(folder: Path, *, special_marks: bool = False) -> Tokenizer:
    """Write a tokenizer.json and return the tokenizer; `<tool_call>` is a token of its own, which some call special."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(alphabet)}
    merges = [("{", '"'), ('"', ":"), ("t", "r"), ("u", "e"), ("tr", "ue")]
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(END, special=True)])
    tokenizer.add_tokens([AddedToken(mark, special=special_marks) for mark in ("<tool_call>", "</tool_call>")])
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer
