"""`pawl replay`: every decision made again from the log, and compared."""

import typer
from rich.console import Console

from pawl_cli.commands.common import DEFAULT_DATA, AsJson, Data, Servers, errors, print_json, running, told
from pawl_cli.log import replay as replays

DIFFERENT = 3
ADVICE = (
    "A later version of Pawl may decide differently, too: the one that decided tells for sure. "
    "Policies need no care: each decision is made again under the one of its time, and under the defaults where the "
    "log is older than policies on it."
)


def replay(data: Data = DEFAULT_DATA, kafka: Servers = "", json: AsJson = False) -> None:
    """Decide everything again from the log alone, and compare: alarms, requests for training, canaries, deployments.

    A request for training is decided again on the data set that it froze: occasion, moment, enough rows, every reason.
    Not decided again, as it takes text that does not stay on the log: which feedback went into that data set, whether
    a run was due that nobody asked for, and sessions, whose evidence counts as it stands. Nothing is published, and
    nothing that runs is disturbed.

    A log that an earlier version of Pawl wrote is compared in what it states. A field that was added to a decision
    since then, and has a value now, is named as new since; it is no difference.

    Exit status: 0 the same, 1 it could not be done, 3 something came out differently.

    Example:  pawl replay --data ./pawl-data
    """
    with told():
        environment = {"PAWL_KAFKA_BOOTSTRAP_SERVERS": kafka, "PAWL_DATA_DIR": str(data.expanduser().absolute())}
        if not kafka:
            note = running(data)
            environment |= note.environment | {"PAWL_KAFKA_BOOTSTRAP_SERVERS": note.kafka}
        with errors.status("reading the log") as status:

            def progress(service: str, records: int) -> None:
                status.update(f"{service}: {records:,} records")

            reports = [replays.run(service, environment, progress) for service in replays.SERVICES]
        same = all(report["same"] for report in reports)
        if json:
            print_json({"same": same, "services": reports})
        else:
            console = Console(highlight=False)
            for report in reports:
                for line in replays.lines_of(report):
                    console.print(line, markup=False)
            if not same:
                console.print(ADVICE)
        raise typer.Exit(0 if same else DIFFERENT)
