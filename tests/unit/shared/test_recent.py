from pawl_shared.recent import Recent


def test_what_was_used_last_is_kept_and_no_more_than_the_limit() -> None:
    recent: Recent[str, int] = Recent(2)
    for number, name in enumerate("ab"):
        recent.put(name, number)
    assert recent.look("a") == 0
    assert not recent.overflowed
    recent.put("c", 2)
    assert dict(recent) == {"a": 0, "c": 2}
    assert recent.overflowed
    assert recent.look("b") is None
