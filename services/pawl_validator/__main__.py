"""`python -m pawl_validator`."""

from pawl_shared.service import run_service
from pawl_validator.app import build
from pawl_validator.settings import SERVICE, ValidatorSettings


def main() -> None:
    """Run the validator until it is told to stop."""
    run_service(SERVICE, ValidatorSettings, build)


if __name__ == "__main__":
    main()
