"""Supervised fine-tuning on good answers: demonstrations, corrections and what people liked."""

from random import Random
from typing import Any

from trl import SFTConfig, SFTTrainer

from pawl_trainer.preprocessing.pipeline import Material
from pawl_trainer.recipes.answer_logits import score_answers_alone
from pawl_trainer.recipes.examples import Example, chosen_of, demonstration_example
from pawl_trainer.recipes.skeleton import Parts
from pawl_trainer.spec import TrainingSettings


class Sft:
    """Imitation of whole answers; the loss is on the answer alone."""

    name = "sft"

    def examples(self, material: Material, settings: TrainingSettings, rng: Random) -> list[Example]:
        """Demonstrations and corrections first, then liked answers, at most `max_demonstrations`, shuffled."""
        liked = list(material.ups)
        rng.shuffle(liked)
        rows = [*material.demonstrations, *map(chosen_of, material.explicit_pairs), *liked]
        rows = rows[: settings.max_demonstrations]
        rng.shuffle(rows)
        return [demonstration_example(row) for row in rows]

    def trainer(self, parts: Parts) -> Any:
        """No reference model: there is nothing to compare with."""
        trainer = SFTTrainer(args=SFTConfig(completion_only_loss=True, **parts.arguments), **parts.inputs)
        score_answers_alone(trainer.model)
        return trainer
