"""`pawl explain INFERENCE_ID`."""

from typing import Annotated

import typer

from pawl_cli.commands.cluster import bus_of
from pawl_cli.commands.common import DEFAULT_DATA, AsJson, Data, folder_of, print_json, running, told
from pawl_cli.commands.monitor import monitor_of
from pawl_cli.log import lineage
from pawl_shared.artifacts import ArtifactStore


def explain(
    inference_id: Annotated[str, typer.Argument(help="The `id` of an answer.")],
    data: Data = DEFAULT_DATA,
    json: AsJson = False,
) -> None:
    """Show an answer's whole lineage: version, adapter, dataset, feedback it learnt from, gates, alarm.

    Example:  pawl explain 019a2f6e-7c1b-7d2a-9c3e-5b7f8a1d2e3f
    """
    with told():
        note = running(data)
        folder = folder_of(data)
        artifacts = ArtifactStore(note.artifacts(folder), folder / "artifact-cache")
        found = lineage.explain(inference_id, monitor_of(note, data), bus_of(note), artifacts)
        if json:
            print_json(found)
        else:
            typer.echo("\n".join(lineage.lines(found)))
