"""Between tokens and text: the tokenizer, and a stream that never shows half a character or half a stop string."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from pawl_inference.engine.constraint import CALL_MARKS
from pawl_shared.models.graph_spec import TOKENIZER_FILE

_REPLACEMENT = "\ufffd"


def _bytes_of() -> dict[str, int]:
    """How byte-level vocabularies write bytes (Radford et al. 2019, GPT-2): printable ones as themselves, the others as
    the characters from 256 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (byte for byte in range(256) if byte not in printable)
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


_BYTE_OF = _bytes_of()


class TextCodec:
    """The base model's tokenizer. Safe to use from several threads."""

    def __init__(self, graph_folder: Path) -> None:
        source = (graph_folder / TOKENIZER_FILE).read_text(encoding="utf-8")
        self._tokenizer: Any = Tokenizer.from_str(_shown(source))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._added = self._tokenizer.get_added_tokens_decoder()
        self._special = frozenset(token for token, added in self._added.items() if added.special)
        decoder = self._tokenizer.decoder
        self._byte_level = decoder is not None and b'"ByteLevel"' in decoder.__getstate__()

    def encode(self, text: str, special: bool) -> tuple[int, ...]:
        """Token ids of a text; `special` adds what the tokenizer puts around a document (a BOS token).

        Only as a batch is it encoded without Python's lock: 500,000 characters take up to 0.4 s.
        """
        return tuple(self._tokenizer.encode_batch_fast([text], add_special_tokens=special)[0].ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, without special tokens."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def piece(self, token_id: int) -> bytes:
        """The bytes of one token: a part of a character perhaps, or a special token's name.

        Made anew each time (1.3 us): kept, they would take more memory with every token that is drawn for the first
        time, which goes on for days (5 MB for 49,152).
        """
        written: str | None = self._tokenizer.id_to_token(token_id)
        if written is None:  # the model's vocabulary may be padded
            return b""
        if token_id in self._added:
            return written.encode()
        if self._byte_level:
            return bytes(_BYTE_OF[character] for character in written if character in _BYTE_OF)
        if len(written) == 6 and written.startswith("<0x") and written.endswith(">"):  # byte fallback
            return bytes([int(written[3:5], 16)])
        return written.replace("\u2581", " ").encode()

    def width(self, token_id: int) -> int:
        """How many bytes of text a token makes; special tokens make none."""
        return 0 if token_id in self._special else len(self.piece(token_id))


class TextStream:
    """Turns tokens into text piece by piece. What was given out is never taken back.

    Text is held while it ends inside a character, or could still become a stop string. A stop string and what follows
    it are never shown.
    """

    def __init__(self, codec: TextCodec, stop: Sequence[str]) -> None:
        self._codec = codec
        self._stop = [text for text in stop if text]
        self._ids: list[int] = []
        self._shown = 0  # tokens before this one are decoded for good ...
        self._context = 0  # ... and from this one on they are decoded again, as some depend on their left neighbour
        self._held = ""
        self.stopped = False

    def push(self, token_id: int) -> str:
        """Add a token; return the text that is certain now."""
        if self.stopped:
            return ""
        self._ids.append(token_id)
        self._held += self._decode_new()
        cut = min((at for text in self._stop if (at := self._held.find(text)) >= 0), default=-1)
        if cut >= 0:
            self.stopped = True
            certain, self._held = self._held[:cut], ""
            return certain
        keep = max((_overlap(self._held, text) for text in self._stop), default=0)
        certain = self._held[: len(self._held) - keep]
        self._held = self._held[len(certain) :]
        return certain

    def finish(self) -> str:
        """The text still held when the answer ends; a character that is not complete is dropped."""
        certain, self._held = self._held, ""
        return "" if self.stopped else certain

    def _decode_new(self) -> str:
        before = self._codec.decode(self._ids[self._context : self._shown])
        after = self._codec.decode(self._ids[self._context :])
        if len(after) <= len(before) or after.endswith(_REPLACEMENT):
            return ""
        self._context, self._shown = self._shown, len(self._ids)
        return after[len(before) :]


def _shown(source: str) -> str:
    """A tokenizer.json whose marks of calls are seen in texts; some models (Hermes) call them special."""
    if not any(f'"{mark}"' in source for mark in CALL_MARKS):
        return source
    content: Any = json.loads(source)
    for added in content["added_tokens"]:
        added["special"] = added["special"] and added["content"] not in CALL_MARKS
    return json.dumps(content)


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
