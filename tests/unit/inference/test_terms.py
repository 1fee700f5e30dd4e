"""Whose turn a request is: an API key is one app, however it is written and while it is rotated."""

from random import Random

from pawl_inference.handlers.terms import terms_of
from pawl_shared.access.api_keys import id_of, new_text


def app_of(authorization: str | None) -> str:
    return terms_of({} if authorization is None else {"authorization": authorization}, 1).app


def test_a_key_is_one_app() -> None:
    first = new_text(Random(1))
    second = new_text(Random(2), id_of(first))
    assert app_of(f"Bearer {first}") == app_of(f"bearer   {first} ") == app_of(f"Bearer {second}") == id_of(first)
    assert app_of(f"Bearer {new_text(Random(3))}") != app_of(f"Bearer {first}")


def test_what_is_no_key_of_ours_tells_apps_apart_and_is_not_kept() -> None:
    assert app_of(None) == app_of("Bearer ") == app_of("") == ""
    assert app_of("Bearer sk-one") != app_of("Bearer sk-two")
    assert "sk-one" not in app_of("Bearer sk-one")
