"""Kinds of values that requests are made of."""

from typing import Annotated

from pydantic import AfterValidator, Field, Strict

from pawl_shared.events import Finite

# Counts are kept as 32-bit numbers; no context comes near it.
MAX_TOKENS = 2**31 - 1


def _unicode(text: str) -> str:
    """JSON can write half a surrogate pair, which no text can hold; pydantic notices it only beside a length."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("it holds half a surrogate pair, which is not valid Unicode") from error
    return text


Text = Annotated[str, AfterValidator(_unicode)]
Name = Annotated[str, Field(min_length=1, max_length=256)]
# JSON's true is no 1.
Number = Annotated[Finite, Strict()]
# OpenAI's limits for metadata: 16 pairs, keys of 64 and values of 512 characters.
Tags = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]
