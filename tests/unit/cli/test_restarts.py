"""The restart policy, without processes and without a clock."""

from pawl_cli.running.restarts import RestartPolicy, RestartState, step

POLICY = RestartPolicy(first_delay=1, factor=2, longest_delay=5, give_up_after=5, stable_after=60)


def delays(lifetimes: list[float]) -> list[float | None]:
    state, now, found = RestartState(), 0.0, []
    for lifetime in lifetimes:
        state = state.begun(now)
        now += lifetime
        state, decision = step(POLICY, state, now, status=1)
        found.append(decision.delay)
    return found


def test_delays_double_up_to_the_longest_and_then_it_gives_up() -> None:
    assert delays([0.1] * 5) == [1, 2, 4, 5, None]


def test_a_long_run_wipes_the_slate() -> None:
    assert delays([0.1, 0.1, 61, 0.1]) == [1, 2, 1, 2]


def test_the_reason_says_how_it_ended() -> None:
    _, killed = step(POLICY, RestartState(), 3.0, status=-9)
    assert killed.reason == "was killed by signal 9 after 3 s: starting it again in 1.0 s"
    _, given_up = step(POLICY, RestartState(failures=4), 3.0, status=2)
    assert given_up.delay is None
    assert "giving up" in given_up.reason
