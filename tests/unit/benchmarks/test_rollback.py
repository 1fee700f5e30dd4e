"""What the benchmark of rollbacks calls their 99th percentile."""

from benchmarks.rollback import p99


def test_of_fewer_than_a_hundred_it_is_the_largest() -> None:
    assert p99([0.2, 0.9, 0.1]) == 0.9
    assert p99([float(number) for number in range(1, 101)]) == 99
    assert p99([float(number) for number in range(200, 0, -1)]) == 198
