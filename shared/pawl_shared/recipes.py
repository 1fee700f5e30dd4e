"""The recipes that train adapters, as people ask for them; what they do is the trainer's (pawl_trainer.recipes).

Events carry them as text, so that a log which names one of another version of Pawl can be read.
"""

from typing import Literal

RecipeName = Literal["kto", "dpo", "sft"]
RecipeChoice = Literal["auto", "kto", "dpo", "sft"]
