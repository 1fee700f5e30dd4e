"""The body of a text completion, OpenAI's older API: the model goes on with a text, without a chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

from pydantic import Discriminator, Field, StrictBool, StrictInt, Tag, model_validator

from pawl_inference.bodies.generation_body import MAX_CHOICES, GenerationBody, refusal
from pawl_inference.domain import parameters
from pawl_inference.domain.fields import MAX_TOKENS, Text
from pawl_inference.domain.parameters import Rule

# Half of the engine's queue by default: a request is queued as a whole, and others have to find room beside it.
MAX_TEXTS = 32
TokenIds = Annotated[list[Annotated[StrictInt, Field(ge=0, le=MAX_TOKENS)]], Field(min_length=1, fail_fast=True)]
Texts = Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS)]
TokenLists = Annotated[list[TokenIds], Field(min_length=1, max_length=MAX_TEXTS)]


def _kind(prompt: object) -> str:
    """By its first item, so that what is wrong with a list is said of the list that was meant."""
    first = prompt[0] if isinstance(prompt, list) and prompt else prompt
    if first is prompt:
        return "[texts]" if isinstance(prompt, list) else "[text]"
    return "[tokens]" if isinstance(first, int) else "[token lists]" if isinstance(first, list) else "[texts]"


Prompt = Annotated[
    Annotated[Text, Tag("[text]")]
    | Annotated[Texts, Tag("[texts]")]
    | Annotated[TokenIds, Tag("[tokens]")]
    | Annotated[TokenLists, Tag("[token lists]")],
    Discriminator(_kind),
]


class TextRequest(GenerationBody):
    """Texts to go on with. OpenAI's other parameters get a 400 that names them, unless they ask for nothing."""

    PARAMETERS: ClassVar[Mapping[str, Rule]] = parameters.TEXT
    PROMPT: ClassVar[str] = "prompt"
    DEFAULT_LIMIT: ClassVar[int | None] = 16  # OpenAI's

    prompt: Prompt = Field(
        description="a text or token ids, or a list of them; each gets `n` choices, one prompt's after the other's"
    )
    echo: StrictBool | None = Field(default=None, description="put the prompt before the answer")
    logprobs: Annotated[StrictInt, Field(ge=0, le=5)] | None = None
    best_of: Annotated[StrictInt, Field(ge=1, le=MAX_CHOICES)] | None = Field(
        default=None, description="as many as `n`"
    )

    @model_validator(mode="after")
    def _consistent(self) -> TextRequest:
        if self.best_of is not None and self.best_of != self.choices:
            raise refusal("best_of", f"as many answers are made as are given; ask for n: {self.best_of} and choose")
        if self.echo and self.logprobs is not None:
            raise refusal("echo", "log-probabilities of a prompt are not computed; leave out echo or logprobs")
        if len(self.prompts) * self.choices > MAX_TEXTS:
            raise refusal("prompt", f"at most {MAX_TEXTS} choices a request, of all prompts together")
        return self

    @property
    def prompts(self) -> Sequence[str | Sequence[int]]:
        """Each prompt by itself."""
        given = self.prompt
        if isinstance(given, str):
            return [given]
        tokens = [each for each in given if isinstance(each, int)]
        return [tokens] if tokens else [each for each in given if not isinstance(each, int)]

    @property
    def likeliest(self) -> int | None:
        """See GenerationBody.likeliest."""
        return self.logprobs
