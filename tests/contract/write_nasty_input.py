"""Writes docs/nasty-input.md from the lists of cases."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.nasty_document import document

(Path(__file__).parents[2] / "docs" / "nasty-input.md").write_text(document())
