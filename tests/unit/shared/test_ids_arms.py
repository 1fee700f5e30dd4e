"""Sessions and the arms that they meet."""

from collections import Counter
from uuid import UUID

import pytest

from pawl_shared.ids import arm_of


def drawn(shares: list[float], experiment: int = 1, sessions: int = 4000) -> Counter[int | None]:
    return Counter(arm_of(UUID(int=experiment), f"session {n}", shares) for n in range(sessions))


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.33, 0.33, 0.34], [1 / 3, 1 / 3, 1 / 3], [0.7, 0.2, 0.1]])
def test_arms_come_in_their_shares_and_nobody_is_left_over(shares: list[float]) -> None:
    counts = drawn(shares)
    assert None not in counts
    for arm, share in enumerate(shares):
        assert abs(counts[arm] / 4000 - share) < 0.03


def test_what_the_shares_leave_over_is_outside() -> None:
    assert abs(drawn([0.1, 0.1])[None] / 4000 - 0.8) < 0.03


def test_a_session_keeps_its_arm_and_another_experiment_draws_anew() -> None:
    names = [f"session {n}" for n in range(200)]
    first, again, other = ([arm_of(UUID(int=k), name, (0.5, 0.5)) for name in names] for k in (1, 1, 2))
    assert first == again
    assert 60 < sum(a != b for a, b in zip(first, other, strict=True)) < 140
