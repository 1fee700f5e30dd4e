"""A byte-level tokenizer that takes no training: single bytes, some words of JSON, and the marks of a chat."""

from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

END = "<|im_end|>"


def write_small_tokenizer(folder: Path) -> Tokenizer:
    """Write a tokenizer.json and return the tokenizer; `<tool_call>` is a token of its own that answers show."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(alphabet)}
    merges = [("{", '"'), ('"', ":"), ("t", "r"), ("u", "e"), ("tr", "ue")]
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(END, special=True)])
    tokenizer.add_tokens([AddedToken("<tool_call>", special=False), AddedToken("</tool_call>", special=False)])
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer
