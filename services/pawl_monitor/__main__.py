"""`python -m pawl_monitor`."""

from pawl_monitor import no_pandas
from pawl_monitor.app import build
from pawl_monitor.settings import MonitorSettings
from pawl_monitor.standby import StandbyMonitor
from pawl_shared.service import run_service


def main() -> None:
    """Run the monitor until it is told to stop; while another one runs on the same data, wait to take over."""
    no_pandas.leave_out()
    run_service("monitor", MonitorSettings, lambda settings: StandbyMonitor(settings, build))


if __name__ == "__main__":
    main()
