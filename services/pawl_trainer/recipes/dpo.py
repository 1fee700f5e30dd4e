"""Direct preference optimisation on pairs (Rafailov et al. 2023, arXiv:2305.18290), with a share of plain imitation.

The SFT term of weight 0.5 keeps the preferred answers likely; without it DPO is content to make both answers rarer.
"""

from random import Random
from typing import Any

from trl import DPOConfig, DPOTrainer

from pawl_trainer.preprocessing.pipeline import Material
from pawl_trainer.recipes.cut_answers import keeping_cut_answers_open
from pawl_trainer.recipes.examples import Example, pair_example
from pawl_trainer.recipes.skeleton import Parts
from pawl_trainer.spec import TrainingSettings


class Dpo:
    """Pairs; the mined ones only where people wrote too few themselves (they are mostly noise)."""

    name = "dpo"

    def examples(self, material: Material, settings: TrainingSettings, rng: Random) -> list[Example]:
        """At most `max_pairs`, the best kind first, shuffled."""
        pairs = list(material.explicit_pairs)
        if len(pairs) < settings.min_pairs:
            pairs += material.mined_pairs
        pairs = pairs[: settings.max_pairs]
        rng.shuffle(pairs)
        return [pair_example(row) for row in pairs]

    def trainer(self, parts: Parts) -> Any:
        """The reference's log-probabilities are computed once: a quarter of the time of computing them at each step."""
        args = DPOConfig(
            beta=parts.settings.beta,
            loss_type=["sigmoid", "sft"],
            loss_weights=[1.0, 0.5],
            precompute_ref_log_probs=True,
            **parts.arguments,
        )
        trainer = keeping_cut_answers_open(DPOTrainer, "rejected_ids", parts)
        return trainer(args=args, **parts.inputs)
