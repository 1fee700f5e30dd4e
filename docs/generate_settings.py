"""Writes docs/settings.md from the services' settings classes: `python docs/generate_settings.py docs/settings.md`."""

import sys
from collections.abc import Iterator
from pathlib import Path

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pawl_inference.settings import InferenceSettings
from pawl_monitor.settings import MonitorSettings
from pawl_shared.settings import PawlSettings
from pawl_streams.settings import StreamsSettings
from pawl_trainer.settings import TrainerSettings
from pawl_validator.settings import ValidatorSettings

SERVICES: dict[str, type[PawlSettings]] = {
    "inference": InferenceSettings,
    "streams": StreamsSettings,
    "monitor": MonitorSettings,
    "trainer": TrainerSettings,
    "validator": ValidatorSettings,
}
HEAD = """# Settings

Every service is told what it needs by environment variables. Generated from the settings classes: `make schemas`.
A wrong value ends a service at once, with exit status 2 and the variable's name.
"""


def default_of(field: FieldInfo) -> str:
    """As a reader would write it."""
    if field.default_factory is not None:
        return "made at the start" if field.default is PydanticUndefined else str(field.default)
    return "required" if field.is_required() else f"`{field.default}`" if field.default not in ("", None) else "empty"


def rows(settings: type[PawlSettings], shared: bool) -> Iterator[str]:
    """One line a setting; of a service only those that are its own or that it changes."""
    yield "| variable | default | what it does |\n|---|---|---|\n"
    for name, field in settings.model_fields.items():
        inherited = PawlSettings.model_fields.get(name)
        if shared or inherited is None or inherited.default != field.default:
            default = "`~/.local/share/pawl`" if name == "data_dir" else default_of(field)
            yield f"| `PAWL_{name.upper()}` | {default} | {field.description} |\n"


def page() -> str:
    """The whole page."""
    parts = [HEAD, "\n## All services\n\n", *rows(PawlSettings, shared=True)]
    for service, settings in SERVICES.items():
        parts += [f"\n## {service}\n\n", *rows(settings, shared=False)]
    return "".join(parts)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
