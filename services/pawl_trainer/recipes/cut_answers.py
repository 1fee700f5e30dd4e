"""Answers that were cut at the token limit.

The chat template closes every answer, also one that stopped in mid-sentence. If a disliked cut answer kept that false
end, the model would learn that ending is what was wrong with it.
"""

from collections.abc import Sequence
from typing import Any

from pawl_trainer.recipes.answer_logits import score_answers_alone
from pawl_trainer.recipes.skeleton import Parts

_MARK = "pawl-answer"


def closing_ids(tokenizer: Any) -> list[int]:
    """The tokens that the chat template puts after an answer."""
    conversation = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _MARK}]
    text: str = tokenizer.apply_chat_template(conversation, tokenize=False)
    ids: list[int] = tokenizer(text.rsplit(_MARK, 1)[1], add_special_tokens=False)["input_ids"]
    return ids


def without_end(ids: Sequence[int], closing: Sequence[int]) -> list[int]:
    """`ids` without `closing` at their end; at least one token stays, because an empty answer has no likelihood."""
    end = len(ids) - len(closing)
    return list(ids[:end]) if closing and end > 0 and list(ids[end:]) == list(closing) else list(ids)


def neighbours(answers: list[list[int]]) -> list[list[int]]:
    """Each answer's partner for the KL term of KTO: the one before it in the batch, as TRL pairs them."""
    return [answers[-1], *answers[:-1]]


def keeping_cut_answers_open(trainer: Any, column: str, parts: Parts) -> Any:
    """A subclass of a TRL `trainer` that takes the false end off the answers in `column` of rows not `finished`.

    It also scores answers alone, and reports every batch of the reference pass, which can be half of the time.
    """
    closing = closing_ids(parts.tokenizer)

    class OpenEnded(trainer):  # type: ignore[misc]  # TRL has no types
        def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, *rest: Any) -> Any:
            rows = super()._prepare_dataset(dataset, processing_class, args, *rest)
            rows = rows.map(lambda row: {column: row[column] if row["finished"] else without_end(row[column], closing)})
            if "KL_completion_ids" not in rows.column_names:
                return rows
            return rows.map(
                lambda batch: {"KL_completion_ids": neighbours(batch[column])},
                batched=True,
                batch_size=args.per_device_train_batch_size,
            )

        def _precompute_ref_logps(self, *args: Any, **kwargs: Any) -> Any:
            score_answers_alone(self.model)
            return super()._precompute_ref_logps(*args, **kwargs)

        def compute_ref_log_probs(self, model: Any, inputs: Any) -> Any:
            answer = super().compute_ref_log_probs(model, inputs)
            parts.reference_progress.advance()
            return answer

    return OpenEnded
