"""One instance of every event. The files in tests/contract/samples are what was once published from these."""

from datetime import UTC, datetime
from uuid import UUID

from pawl_shared import events as e
from pawl_shared.policies.experiment_spec import ArmSpec, ExperimentSpec
from pawl_shared.policies.model_policy import Canary, ModelPolicy

WHEN = datetime(2026, 3, 1, 12, 30, 15, 250000, tzinfo=UTC)
MODEL = "default/assistant"
BASE, GRAPH, ADAPTER, SLOTS, DATASET, REPORT = (letter * 64 for letter in "abcdef")
RATE = e.Interval(point=0.75, low=0.7, high=0.8, n=300)


def uid(number: int) -> UUID:
    return UUID(int=0x0190_0000_0000_7000_8000_0000_0000_0000 + number)


def envelope(number: int) -> dict[str, object]:
    return {"id": uid(number), "time": WHEN, "source": "pawl/test/0", "cause": uid(999)}


INFERENCE = e.InferenceLogged(
    **envelope(1), inference_id=uid(100), model=MODEL, session="s-1", subject="0f" * 16,
    messages=(e.Message(role="user", content="Why is the sky blue? \u2603"),), answer="It scatters light.",
    finish_reason="stop", arm="challenger", version=ADAPTER, canary=uid(7), revision=3, template_version=REPORT,
    sampling=e.Sampling(temperature=0.7, top_p=0.9, max_tokens=64, seed=1, stop=("\n",)), prompt_tokens=12,
    answer_tokens=5, first_token_seconds=0.08, total_seconds=0.4, metadata={"app": "shop"},
)  # fmt: skip
FEEDBACK = e.FeedbackReceived(
    **envelope(2), inference_id=uid(100), model=MODEL, session="s-1", subject="0f" * 16, kind="correction",
    text="Air scatters blue light most.",
)  # fmt: skip
POLICY = ModelPolicy(purpose="answers customers", owner="shop team", canary=Canary(share=0.2))
VERSION = e.DeployedVersion(version=BASE, base=BASE, graph=GRAPH)
EXPERIMENT = ExperimentSpec(
    name="tone", arms={"plain": ArmSpec(share=0.5), "kind": ArmSpec(share=0.5, system="Be kind.")}
)
GATE = e.GateResult(gate="retention", passed=True, sentence="0.3 % more perplexity, 3 % allowed", numbers={"rise": 0.3})

SAMPLES: tuple[e.Event, ...] = (
    INFERENCE,
    FEEDBACK,
    e.InteractionScored(
        **envelope(3), inference_id=uid(100), model=MODEL, session="s-1", revision=2, inference=INFERENCE,
        feedback=FEEDBACK, reward=0.0, rated=True, prompt_sketch="AB" * 16,
    ),
    e.SessionObserved(
        **envelope(4), model=MODEL, session="s-1", subject="0f" * 16, arm="champion", version=BASE, revision=1,
        reward=0.5, answers=2, rated=1, statistics={"words": 41.5}, prompt_sketch="AB" * 16, started=WHEN,
        ended=WHEN,
    ),
    e.Tick(**envelope(5), model=MODEL, number=17),
    e.DriftDetected(
        **envelope(6), model=MODEL, detector="approval", direction="drop", version=BASE, since=WHEN, before=RATE,
        after=e.Interval(point=0.2, low=0.1, high=0.3, n=40), sessions=340, evidence=6e5, threshold=5e5,
        sentence="Fell.", rated_before=RATE, rated_after=RATE, deployments=(uid(8),), examples=(uid(100),),
    ),
    e.DriftResolved(**envelope(7), model=MODEL, alarm=uid(6), now=RATE, sentence="Back."),
    e.RetrainRequested(
        **envelope(8), model=MODEL, alarm=uid(6), dataset=DATASET, base=BASE, recipe="auto", seed=3,
        counts={"pair": 14}, reasons=("14 of 12 corrections",),
    ),
    e.TrainingStarted(**envelope(9), model=MODEL, run=uid(8), device="cpu"),
    e.TrainingProgressed(
        **envelope(10), model=MODEL, run=uid(8), phase="train", step=4, total=18, fraction=0.2, metrics={"loss": 0.6},
    ),
    e.TrainingFailed(**envelope(11), model=MODEL, run=uid(8), reason="no pairs", advice="Collect some."),
    e.AdapterTrained(
        **envelope(12), model=MODEL, run=uid(8), alarm=uid(6), adapter=ADAPTER, base=BASE, dataset=DATASET,
        recipe="dpo", reasons=("14 pairs",), settings={"lr": 2e-4}, seed=3, libraries={"trl": "1.16.0"},
        metrics={"loss": 0.4}, seconds=106.5,
    ),
    e.CandidateValidated(
        **envelope(13), model=MODEL, run=uid(8), adapter=ADAPTER, slot_file=SLOTS, graph=GRAPH, report=REPORT,
        gates=(GATE,),
    ),
    e.CandidateRejected(**envelope(14), model=MODEL, run=uid(8), adapter=ADAPTER, gates=(GATE,), reasons=("forgot",)),
    e.ModelRegistered(
        **envelope(15), model=MODEL, version=BASE, kind="base", name="SmolLM2", base=BASE, graph=GRAPH,
        licence="apache-2.0",
    ),
    e.StageChanged(**envelope(16), model=MODEL, version=ADAPTER, before="canary", stage="champion", reasons=("won",)),
    e.VersionObserved(**envelope(17), model=MODEL, version=BASE, approval=RATE, seconds={"p50": 0.4}),
    e.ApprovalChanged(
        **envelope(32), model=MODEL, version=ADAPTER, step="canary", state="requested", run=uid(8), report=REPORT,
        reasons=("every gate passed",),
    ),
    e.DeploymentChanged(
        **envelope(18), model=MODEL, revision=2, champion=VERSION,
        challenger=e.DeployedVersion(version=ADAPTER, base=BASE, graph=GRAPH, slot_file=SLOTS), share=0.5,
        canary=uid(18), change="canary", reasons=("all gates passed",), numbers={"share": 0.5},
    ),
    e.CanaryObserved(
        **envelope(19), model=MODEL, version=ADAPTER, canary=uid(18), champion=RATE, challenger=RATE,
        promote_evidence=12.5, promote_threshold=100, rollback_evidence=0.01, rollback_threshold=20,
    ),
    e.ReplicaReported(**envelope(20), replica="inference/0", applied={MODEL: 2}, slots={"1": ADAPTER}, healthy=True),
    e.DataKeyCreated(
        **envelope(29), name=f"default/subject/{'0f' * 16}/{uid(29).hex}", wrapped="AAAA", master="01234567"
    ),
    e.RegisterModelCommand(**envelope(21), model=MODEL, who="pawl up", base="smollm2-135m-instruct"),
    e.ConfigureModelCommand(
        **envelope(30), model=MODEL, who="ada", why="more canary", policy=POLICY, digest=POLICY.digest
    ),
    e.PromoteCommand(**envelope(22), model=MODEL, who="ada", why="looks good", version=ADAPTER),
    e.ApproveCommand(**envelope(33), model=MODEL, who="ada", why="read 20 answers", version=ADAPTER, verdict="reject"),
    e.StartExperimentCommand(**envelope(41), model=MODEL, who="ada", why="which tone?", experiment=EXPERIMENT),
    e.StopExperimentCommand(**envelope(42), model=MODEL, who="ada", why="seen enough"),
    e.ExperimentObserved(
        **envelope(43), model=MODEL, version=BASE, experiment=uid(41), name="tone", alpha=0.05, sessions=600,
        arms=(
            e.ArmObserved(
                arm="plain", version=BASE, share=0.5, sessions=600, rated=RATE, approval=RATE, means={"words": 41.5}
            ),
        ),
        compared=(e.ArmCompared(arm="kind", control="plain", blocks=200, difference=0.1, low=-0.02, high=0.22),),
        warnings=("people rate the arms at different rates",),
    ),
    e.RollbackCommand(**envelope(23), model=MODEL, who="ada", why="complaints", version=ADAPTER),
    e.RetrainCommand(**envelope(24), model=MODEL, who="ada"),
    e.PauseCommand(**envelope(25), model=MODEL, who="ada", paused=False),
    e.PinCommand(**envelope(31), model=MODEL, who="ada", why="until the fair is over", version=ADAPTER),
    e.DeadLetter(
        **envelope(26), topic="pawl.feedback", partition=3, offset=9, service="streams", reason="not JSON",
        record_value="AA==",
    ),
    e.DriftAssessed(
        **envelope(32), model=MODEL, alarm=uid(6), sessions=200,
        clusters=(e.PromptCluster(before=RATE, after=RATE, moved=False, approval_after=RATE, examples=(uid(100),)),),
        advice=e.Advice(cure="train", sentence="Approval fell for the same prompts."),
    ),
    e.ReviewRequested(
        **envelope(31), model=MODEL, alarm=uid(6), version=BASE, since=WHEN, population=300, rated=2,
        items=(e.ReviewItem(inference_id=uid(100), cluster=1),), sentence="Please judge.",
    ),
    e.RetryDeadLettersCommand(**envelope(27), topic="pawl.feedback", letters=(uid(26),), who="ada", why="fixed"),
)  # fmt: skip
