from pawl_streams.language import load_identifier


def test_languages_are_told_apart_and_nobody_guesses() -> None:
    identify = load_identifier()
    assert identify("What is the capital of France?") == "en"
    assert identify("Wie spät ist es in Berlin?") == "de"
    assert identify("こんにちは、お元気ですか") == "ja"
    for text in ("", "  ", "ok", "12345", "<email>", "\ud800"):
        assert identify(text) is None
