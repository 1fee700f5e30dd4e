"""The inference service as a process of its own, on a real broker."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from support.http_service import ready
from support.inference import World, eventually

from pawl_shared import codec
from pawl_shared.buses.kafka_bus import KafkaBus
from pawl_shared.events import DeployedVersion, InferenceLogged
from pawl_shared.topics import INFERENCES


@contextmanager
def inference_process(
    world: World, kafka: str, port: int, module: str = "pawl_inference", **settings: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Yields it when it is ready; what it says is appended to `log` in the world's folder."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PAWL_KAFKA_BOOTSTRAP_SERVERS": kafka,
        "PAWL_DATA_DIR": str(world.folder / "data"),
        "PAWL_ARTIFACT_URL": f"file://{world.folder / 'artifacts'}",
        "PAWL_HTTP_PORT": str(port),
        **settings,
    }
    with (world.folder / "log").open("ab") as log:
        process = subprocess.Popen([sys.executable, "-m", module], env=environment, stderr=log)
        try:
            eventually(lambda: ready(f"http://127.0.0.1:{port}"), timeout=120)
            yield process
        finally:
            process.kill()
            process.wait()
            sys.stdout.write((world.folder / "log").read_text()[-5000:])  # pytest shows it where a test has failed


def deploy(world: World, bus: KafkaBus, champion: DeployedVersion | None = None) -> None:
    producer = bus.producer("test")
    producer.send(codec.encode(world.deploy(1, champion=champion))).result(30)
    producer.close()


def logged(bus: KafkaBus) -> dict[str, InferenceLogged]:
    """What is on the topic of answers, by their ids."""
    events = [codec.decode(record) for record in bus.read(INFERENCES.name) if record is not None]
    return {str(event.inference_id): event for event in events if isinstance(event, InferenceLogged)}
