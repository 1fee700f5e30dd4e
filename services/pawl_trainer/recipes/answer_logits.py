"""Logits for the tokens of answers alone, on a CPU.

TRL scores every position there, prompts and padding included, and forms the logits again in the backward pass. On
SmolLM2-135M (49,152 tokens) that was 42 % of a DPO step. On a GPU TRL's Triton kernel does better, so that one stays.
"""

from types import MethodType
from typing import Any

import torch
from trl.trainer.utils import FusedCausalLMOutput

# Of fp32 logits held for the backward pass: 2 GiB. Beyond it TRL's tiled way is slower but small.
MAX_LOGITS = 1 << 29
# Settings by which some architectures bend their logits; TRL's way knows them all.
_BENT = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier")


def score_answers_alone(model: Any) -> None:
    """Let `model(..., labels=..., fused_lm_head=True)` compute logits only where a label follows.

    `model` is a PEFT model that a TRL trainer has prepared. Where the short way does not apply, TRL's own goes on.
    """
    causal = model.get_base_model()
    config = causal.config.get_text_config()
    if causal.device.type != "cpu" or any(getattr(config, name, None) is not None for name in _BENT):
        return
    theirs = causal.forward

    def forward(
        self: Any,
        *args: Any,
        fused_lm_head: bool = False,
        labels: Any = None,
        num_items_in_batch: Any = None,
        **kw: Any,
    ) -> Any:
        count = 0 if labels is None else int((labels[:, 1:] != -100).sum())
        if not fused_lm_head or not 0 < count * config.vocab_size <= MAX_LOGITS:
            extra = {} if num_items_in_batch is None else {"num_items_in_batch": num_items_in_batch}
            return theirs(*args, fused_lm_head=fused_lm_head, labels=labels, **extra, **kw)
        hidden = self.base_model(*args, **{**kw, "use_cache": False}).last_hidden_state[:, :-1]
        return _score(self.get_output_embeddings(), hidden, labels[:, 1:], num_items_in_batch)

    causal.forward = MethodType(forward, causal)


def _score(head: Any, hidden: torch.Tensor, labels: torch.Tensor, items: Any) -> Any:
    """`hidden` [batch, length, width], `labels` [batch, length] with -100 for what is not scored."""
    mask = labels != -100
    wanted = labels[mask]
    logits = head(hidden[mask]).float()
    log_p = logits.log_softmax(-1)
    chosen = log_p.gather(-1, wanted.unsqueeze(-1)).squeeze(-1)

    def spread(values: torch.Tensor) -> torch.Tensor:
        return values.new_zeros(mask.shape).masked_scatter(mask, values)

    with torch.no_grad():
        entropy, top = -(log_p.exp() * log_p).sum(-1), log_p.argmax(-1) == wanted
        mean = logits.mean(-1)
    loss = -chosen.sum() / (mask.sum() if items is None else items)
    return FusedCausalLMOutput(
        loss=loss, log_probs=spread(chosen), entropy=spread(entropy), mean_logits=spread(mean), is_top1=spread(top),
        label_mask=mask,
    )  # fmt: skip
