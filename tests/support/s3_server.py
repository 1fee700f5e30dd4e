"""A server that speaks S3's protocol (moto), out of the environment that `make sdks` makes."""

import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import s3fs
from support.inference import eventually

from pawl_cli.running.ports import any_free

SDKS = Path(__file__).parents[1] / "sdks"
INSTALLED = (SDKS / ".installed").exists()
needs_s3 = pytest.mark.skipif(
    not INSTALLED and os.environ.get("CI") != "true", reason="the S3 server is not installed: run `make sdks`"
)


@dataclass
class S3Server:
    """`environment` is what a deployment sets, with nothing of the user's own configuration."""

    process: subprocess.Popen[bytes]
    environment: dict[str, str]

    def bucket(self) -> str:
        """The name of a new one. To be called where `environment` is set."""
        name = f"bucket-{uuid.uuid4().hex}"
        s3fs.S3FileSystem(skip_instance_cache=True).mkdir(name)
        return name


@contextmanager
def s3_server(folder: Path, port: int | None = None) -> Iterator[S3Server]:
    """Yields it when it answers; its log lies in the folder. None: at any free port."""
    port = port or any_free()
    url = f"http://127.0.0.1:{port}"
    environment = {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
        "NO_PROXY": "127.0.0.1",
    }
    with (folder / "s3.log").open("wb") as log:
        command = [SDKS / ".venv" / "bin" / "moto_server", "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log)
        try:
            eventually(lambda: _answers(url), timeout=60)
            s3fs.S3FileSystem.clear_instance_cache()  # they remember another server's address
            yield S3Server(process, environment)
        finally:
            s3fs.S3FileSystem.clear_instance_cache()
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False
