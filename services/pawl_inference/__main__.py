"""`python -m pawl_inference`"""

from __future__ import annotations

from pawl_inference import app
from pawl_inference.settings import InferenceSettings
from pawl_shared.service import run_service


def main() -> None:
    """Serve until SIGTERM."""
    run_service("inference", InferenceSettings, app.build)


if __name__ == "__main__":
    main()
