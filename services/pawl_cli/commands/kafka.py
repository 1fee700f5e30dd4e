"""`pawl kafka` and `pawl topics apply`: the broker alone, and its topics."""

import time

import typer

from pawl_cli.commands.cluster import bus_at
from pawl_cli.commands.common import DEFAULT_DATA, FAILED, AsJson, Data, Servers, print_json, told
from pawl_cli.running.data_folder import DataFolder
from pawl_cli.running.embedded_kafka import EmbeddedKafka
from pawl_cli.running.note import RunningNote
from pawl_cli.running.supervise import Supervisor
from pawl_cli.terminal import Terminal
from pawl_shared.topics import TOPICS

topics_app = typer.Typer(help="The topics of the cluster.", no_args_is_help=True)


def kafka(data: Data = DEFAULT_DATA) -> None:
    """Run the embedded Kafka alone, in the foreground, until Ctrl-C.

    Example:  pawl kafka --data /tmp/pawl-kafka
    """
    with told(), Terminal() as terminal, DataFolder(data) as folder:
        broker = EmbeddedKafka(folder.path / "kafka", lambda done, total: terminal.step("Kafka's jars", done / total))
        supervisor = Supervisor()
        try:
            terminal.step("Kafka")
            supervisor.start(broker)
            terminal.done()
            folder.write_note(RunningNote(broker.pid or 0, broker.bootstrap_servers))
            terminal.line("kafka", f"Ready at {broker.bootstrap_servers}. Ctrl-C stops it; its data stays.", "good")
            while True:
                for happening in supervisor.poll():
                    terminal.line(happening.unit, happening.text, "bad")
                    if happening.final:
                        raise typer.Exit(FAILED)
                time.sleep(0.2)
        finally:
            supervisor.stop()


@topics_app.command("apply")
def apply(data: Data = DEFAULT_DATA, kafka: Servers = "", json: AsJson = False) -> None:
    """Create the topics that are missing, with their partitions and retention; existing ones stay as they are.

    Example:  pawl topics apply --kafka-bootstrap-servers broker-1:9092
    """
    with told():
        created = bus_at(data, kafka).create_topics(TOPICS)
        if json:
            print_json({"created": created, "existing": [t.name for t in TOPICS if t.name not in created]})
        else:
            typer.echo(f"created: {', '.join(created) or 'none'}; {len(TOPICS) - len(created)} were there already")
