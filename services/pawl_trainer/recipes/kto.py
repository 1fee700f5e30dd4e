"""Kahneman-Tversky optimisation on thumbs (Ethayarajh et al. 2024, arXiv:2402.01306)."""

from random import Random
from typing import Any

from trl import KTOConfig, KTOTrainer

from pawl_trainer.preprocessing.pipeline import Material
from pawl_trainer.recipes.cut_answers import keeping_cut_answers_open
from pawl_trainer.recipes.examples import Example, chosen_of, rejected_of, thumb_example
from pawl_trainer.recipes.skeleton import Parts
from pawl_trainer.spec import TrainingSettings


class Kto:
    """Liked and disliked answers, one to one, so that neither side needs a weight."""

    name = "kto"

    def examples(self, material: Material, settings: TrainingSettings, rng: Random) -> list[Example]:
        """Both sides of every explicit pair, then thumbs drawn at random, at most `max_thumbs` a side, shuffled.

        The order matters: TRL's sampler is sequential here, and an answer's neighbour is its partner for the KL term.
        """
        pairs = material.explicit_pairs[: settings.max_thumbs]
        size = min(settings.max_thumbs, len(pairs) + min(len(material.ups), len(material.downs)))
        ups = [chosen_of(row) for row in pairs] + rng.sample(material.ups, size - len(pairs))
        downs = [rejected_of(row) for row in pairs] + rng.sample(material.downs, size - len(pairs))
        rows = ups + downs
        rng.shuffle(rows)
        return [thumb_example(row) for row in rows]

    def trainer(self, parts: Parts) -> Any:
        """Reference log-probabilities once, as in DPO."""
        args = KTOConfig(beta=parts.settings.beta, precompute_ref_log_probs=True, **parts.arguments)
        trainer = keeping_cut_answers_open(KTOTrainer, "completion_ids", parts)
        return trainer(args=args, **parts.inputs)
