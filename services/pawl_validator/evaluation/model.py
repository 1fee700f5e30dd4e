"""The base in torch with an adapter that can be put on and taken off: log-likelihoods and greedy answers.

One copy of the weights serves base, champion and candidate. The update is computed beside the layer, y + scale (x A')
B', because merging it into bfloat16 weights would round it away: the steps of bfloat16 are 0.4 % of a weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from pawl_shared.models.lora_format import TrainedAdapter
from pawl_validator.evaluation.heldout import Scored, Turns

BATCH_TOKENS = 1024  # of a scoring batch, padding included: at 49k words of vocabulary its logits take 200 MB
ANSWER_BATCH = 48

Tick = Callable[[int, int], None]


@dataclass(frozen=True)
class Answer:
    """`ended`: the model ended it by itself within the limit."""

    text: str
    ended: bool


class EvaluationModel:
    """A base model in evaluation mode; on a GPU when there is one, in bfloat16 where the processor computes it."""

    def __init__(self, base_dir: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.dtype = torch.bfloat16 if self.device == "cuda" or _cpu_computes_bf16() else torch.float32
        self._tokenizer: Any = AutoTokenizer.from_pretrained(str(base_dir))
        model: Any = AutoModelForCausalLM.from_pretrained(str(base_dir), dtype=self.dtype)
        self._model = model.eval().to(self.device)
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        config = self._model.generation_config
        ends = config.eos_token_id
        self._ends = set(ends if isinstance(ends, list) else [ends]) | {self._tokenizer.eos_token_id}

    @contextmanager
    def wearing(self, adapter: TrainedAdapter | None) -> Iterator[None]:
        """With the adapter (None: the base) for as long as the context lasts."""
        handles = []
        if adapter is not None:
            for module in adapter.modules():
                handles.append(self._model.get_submodule(module).register_forward_hook(self._hook(adapter, module)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, adapter: TrainedAdapter, module: str) -> Callable[[Any, Any, Any], Any]:
        pair = adapter.pair(module)
        assert pair is not None, "modules() names those that have a pair"
        a, b = (torch.from_numpy(part).to(self.device, self.dtype) for part in pair)
        scale = adapter.scale

        def add(_module: Any, inputs: Any, output: Any) -> Any:
            return output + (inputs[0] @ a.T) @ b.T * scale

        return add

    def text_losses(self, texts: Sequence[str], tick: Tick) -> tuple[list[float], list[int]]:
        """Negative log-likelihood in nats and number of scored tokens of each text (the first token is given)."""
        rows = [(ids := self._tokenizer(text)["input_ids"], len(ids) - 1) for text in texts]
        return [-score for score in self._scores(rows, tick)], [count for _, count in rows]

    def answer_scores(self, answers: Sequence[Scored], tick: Tick) -> list[float]:
        """log p(answer | conversation) of each, in nats; the end counts where the answer ended by itself."""
        rows = []
        for scored in answers:
            prompt = self._prompt(scored.messages)
            ids = self._tokenizer(scored.answer, add_special_tokens=False)["input_ids"]
            ids = ids + ([self._tokenizer.eos_token_id] if scored.ended else [])
            rows.append((prompt + ids, len(ids)))
        return self._scores(rows, tick)

    def answers(self, prompts: Sequence[str], max_tokens: int, tick: Tick) -> list[Answer]:
        """Greedy answers, in the order of the prompts."""
        ids = [self._prompt((("user", prompt),)) for prompt in prompts]
        order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
        found: dict[int, Answer] = {}
        for start in range(0, len(order), ANSWER_BATCH):
            batch = order[start : start + ANSWER_BATCH]
            for index, answer in zip(batch, self._generate([ids[i] for i in batch], max_tokens), strict=True):
                found[index] = answer
            tick(len(found), len(ids))
        return [found[index] for index in range(len(ids))]

    def rendered(self, prompt: str, answer: str) -> str:
        """A conversation of one turn, as the model reads it."""
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        return str(self._tokenizer.apply_chat_template(turns, tokenize=False))

    def _prompt(self, messages: Turns) -> list[int]:
        turns = [{"role": role, "content": content} for role, content in messages]
        encoded = self._tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)
        return list(encoded["input_ids"])

    def _scores(self, rows: Sequence[tuple[list[int], int]], tick: Tick) -> list[float]:
        """Sum of the log-probabilities of the last `count` tokens of each row (ids, count)."""
        order = sorted(range(len(rows)), key=lambda index: len(rows[index][0]))
        scores = [0.0] * len(rows)
        done = 0
        while done < len(order):
            batch = [order[done]]
            while done + len(batch) < len(order):
                longest = len(rows[order[done + len(batch)]][0])
                if longest * (len(batch) + 1) > BATCH_TOKENS:
                    break
                batch.append(order[done + len(batch)])
            for index, score in zip(batch, self._score_batch([rows[i] for i in batch]), strict=True):
                scores[index] = score
            done += len(batch)
            tick(done, len(order))
        return scores

    def _score_batch(self, rows: Sequence[tuple[list[int], int]]) -> list[float]:
        ids, mask = self._padded([row for row, _ in rows])
        # Padded on the left, the scored tokens of all rows are the last ones: only their logits are needed.
        keep = max(count for _, count in rows) + 1
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        with torch.inference_mode():
            output = self._model(input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=keep)
        keep = output.logits.shape[1]
        logits = output.logits[:, :-1]
        picked = logits.gather(-1, ids[:, -keep + 1 :, None])[..., 0].float() - logits.float().logsumexp(-1)
        return [float(picked[i, picked.shape[1] - count :].double().sum()) for i, (_, count) in enumerate(rows)]

    def _generate(self, rows: Sequence[list[int]], max_tokens: int) -> list[Answer]:
        """Greedy decoding of a batch; an answer that has ended leaves it, which halves the work for brief models."""
        ids, mask = self._padded(rows)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        cache, live = DynamicCache(), list(range(len(rows)))
        tokens: list[list[int]] = [[] for _ in rows]
        with torch.inference_mode():
            for _ in range(max_tokens):
                output = self._model(
                    input_ids=ids,
                    attention_mask=mask,
                    position_ids=positions,
                    past_key_values=cache,
                    use_cache=True,
                    logits_to_keep=1,
                )
                chosen = output.logits[:, -1].argmax(-1).tolist()
                stay = [place for place, token in enumerate(chosen) if token not in self._ends]
                live = [live[place] for place in stay]
                if not live:
                    break
                if len(stay) < len(chosen):
                    index = torch.tensor(stay, device=self.device)
                    cache.batch_select_indices(index)
                    mask, positions = mask[index], positions[index]
                for row, place in zip(live, stay, strict=True):
                    tokens[row].append(chosen[place])
                ids = torch.tensor([[tokens[row][-1]] for row in live], device=self.device)
                mask = torch.cat([mask, mask.new_ones(len(live), 1)], dim=1)
                positions = positions[:, -1:] + 1
        decode = self._tokenizer.decode
        return [Answer(decode(t, skip_special_tokens=True).strip(), row not in live) for row, t in enumerate(tokens)]

    def _padded(self, rows: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        longest = max(map(len, rows))
        pad = self._tokenizer.pad_token_id
        ids = [[pad] * (longest - len(row)) + row for row in rows]
        mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
        return torch.tensor(ids, device=self.device), torch.tensor(mask, device=self.device)


def _cpu_computes_bf16() -> bool:
    """Emulated bfloat16 is slower than float32; the real one is 2 to 3 times as fast."""
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16"))
