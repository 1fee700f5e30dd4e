"""`pawl approve` and `pawl reject`: a person's verdict on what waits for one."""

from typing import Literal

import typer

from pawl_cli.commands.asked import AskedOf, asking
from pawl_cli.commands.common import print_json, told
from pawl_cli.commands.deployment import ON_THE_LOG, Prefix, Wait, find
from pawl_cli.log import outcome
from pawl_cli.log.follow import everything
from pawl_cli.log.outcome import NoAnswerError
from pawl_cli.log.story import short, tell
from pawl_shared import events as e
from pawl_shared.codec import decode
from pawl_shared.topics import DEPLOYMENTS


@asking
def approve(version: Prefix, asked: AskedOf, wait: Wait = 30) -> None:
    """Let a version that waits for it begin its trial, or be promoted (`canary.approval` in model.yaml asks for that).

    Who approved, and why, stands on the log and in the version's history. (`pawl promote` makes a version champion
    whether it waits or not.) Exit status: 0 it is approved, 1 it was refused or nobody answered.

    Example:  pawl approve 3f9a --why "read 20 of its answers"
    """
    _verdict("approve", version, asked, wait)


@asking
def reject(version: Prefix, asked: AskedOf, wait: Wait = 30) -> None:
    """Refuse a version that waits for approval, is in the queue, or is on trial. It never serves again.

    Exit status: 0 it is rejected, 1 that was refused or nobody answered.

    Example:  pawl reject 3f9a --why "too curt with customers"
    """
    _verdict("reject", version, asked, wait)


def _verdict(verdict: Literal["approve", "reject"], version: str, asked: AskedOf, wait: float) -> None:
    with told():
        bus, model = asked.bus(), asked.model
        found = find(bus, model, version)
        command = e.ApproveCommand(**asked.envelope(model), version=found.version, verdict=verdict)
        try:
            record = outcome.carried_out(bus, command, wait, answers=(e.ApprovalChanged, e.StageChanged))
        except NoAnswerError as error:
            raise NoAnswerError(f"{error}: {ON_THE_LOG}") from error
        # committed together with the answer, where the verdict changes who serves
        changed = next((each for each in everything(bus, DEPLOYMENTS) if each.cause == command.id), None)
        if asked.json:
            print_json(
                {
                    "id": command.id,
                    "model": model,
                    "version": found.version,
                    "verdict": verdict,
                    "answer": decode(record).model_dump(mode="json"),
                    "changed": changed.model_dump(mode="json") if changed else None,
                }
            )
            return
        for line in tell(changed) if changed else ():
            typer.echo(line.text)
        if changed is None:
            later = "it begins its trial when nothing else is on trial" if verdict == "approve" else "it never serves"
            typer.echo(f"{short(found.version)} is {'approved' if verdict == 'approve' else 'rejected'}: {later}.")
