"""Which language a text is in, by py3langid: its model is in the package, and nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable

from py3langid.langid import MODEL_FILE, LanguageIdentifier

# `en`, `de`, … (ISO 639), or None where nobody can tell.
Identify = Callable[[str], str | None]

# Below it the library guesses: "hello" is Breton with 0.07, "What is the capital of France?" English with 0.91.
MIN_CONFIDENCE = 0.4
# A language shows within a page; more would only take time (0.6 s a megabyte).
MAX_CHARACTERS = 4000
_NO_LANGUAGE = frozenset(("und", "zxx"))


def load_identifier() -> Identify:
    """Reads the model: about a second and 100 MB, so once a process."""
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True, min_confidence=MIN_CONFIDENCE)

    def identify(text: str) -> str | None:
        language = str(identifier.classify(text[:MAX_CHARACTERS])[0]) if text.strip() else "und"
        return None if language in _NO_LANGUAGE else language

    return identify
