"""`python -m pawl_streams`: joins feedback to answers. Settings: PAWL_* (see docs/settings.md)."""

from pawl_shared.service import run_service
from pawl_streams.app import build
from pawl_streams.settings import SERVICE, StreamsSettings

if __name__ == "__main__":
    run_service(SERVICE, StreamsSettings, build)
