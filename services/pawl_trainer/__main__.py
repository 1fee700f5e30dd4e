"""`python -m pawl_trainer`."""

from pawl_shared.service import run_service
from pawl_trainer.app import build
from pawl_trainer.settings import SERVICE, TrainerSettings


def main() -> None:
    """Run the trainer until it is told to stop."""
    run_service(SERVICE, TrainerSettings, build)


if __name__ == "__main__":
    main()
