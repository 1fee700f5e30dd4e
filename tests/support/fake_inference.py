"""`python -m support.fake_inference`: the inference service with a fake engine, for tests that kill it."""

from pathlib import Path

from support.fake_engine import FakeEngine
from support.inference import BASE

from pawl_inference import app
from pawl_inference.server import InferenceService
from pawl_inference.settings import InferenceSettings
from pawl_shared.service import run_service


def make_engine(folder: Path, graph: str) -> FakeEngine:
    return FakeEngine(BASE, graph)


def build(settings: InferenceSettings) -> InferenceService:
    return app.build(settings, make_engine=make_engine)


if __name__ == "__main__":
    run_service("inference", InferenceSettings, build)
