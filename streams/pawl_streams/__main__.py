"""`python -m pawl_streams`: joins feedback to answers. Settings: PAWL_* (see docs/settings.md)."""

from pawl_shared.service import run_service
from pawl_shared.settings import PawlSettings
from pawl_streams.agents import SERVICE
from pawl_streams.app import build

if __name__ == "__main__":
    run_service(SERVICE, PawlSettings, build)
