"""Grammars of a request, made ready before it is queued."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from pawl_inference import errors
from pawl_inference.engine.constraint import Constraint
from pawl_inference.engine.port import ConstraintError, Engine
from pawl_inference.errors import ApiError


async def compiled(engine: Engine, constraint: Constraint) -> None:
    """Let the engine compile it on a thread. Raises ApiError when no grammar can express it."""
    parts = [constraint]
    if constraint.answer and constraint.functions:
        parts.insert(0, replace(constraint, functions=()))  # first, so that it is clear which of them is refused
    for part in parts:
        try:
            await asyncio.to_thread(engine.compile, part)
        except ConstraintError as error:
            raise refused(part, error) from error


def refused(constraint: Constraint | None, reason: object) -> ApiError:
    """400: the grammar library says why."""
    param = parameter(constraint)
    return errors.invalid(param, f"Invalid schema for '{param}': {reason}.")


def parameter(constraint: Constraint | None) -> str:
    """The parameter of the request that the constraint comes from."""
    return "tools" if constraint and constraint.functions else "response_format"
