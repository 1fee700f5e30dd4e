"""`python -m pawl_monitor`."""

from pawl_monitor.app import build
from pawl_monitor.settings import MonitorSettings
from pawl_shared.service import run_service


def main() -> None:
    """Run the monitor until it is told to stop."""
    run_service("monitor", MonitorSettings, build)


if __name__ == "__main__":
    main()
