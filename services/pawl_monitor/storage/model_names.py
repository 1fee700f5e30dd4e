"""Which models there are. Apps may tell any name, so that no more are shown than people can read."""

from __future__ import annotations

from typing import NamedTuple

from pawl_monitor.storage.cursors import Cursors, Fact, facts
from pawl_shared.events import DeploymentChanged, DriftDetected, DriftResolved

ALL_SQL = """
SELECT DISTINCT model FROM records WHERE type = ? UNION SELECT DISTINCT model FROM answers ORDER BY 1
"""
# Apps tell what name they like for answers that were made elsewhere; what shows all models shows so many of these.
MOST_TOLD = 50
MODELS_SQL = """
WITH known AS (
  SELECT model, bool_or(deployed) AS deployed, sum(n) AS answers FROM (
    SELECT DISTINCT model, true AS deployed, 0 AS n FROM records WHERE type = $deployed
    UNION ALL SELECT model, false, count(*) FROM answers GROUP BY model
  ) GROUP BY model
)
SELECT model, count(*) OVER () AS n FROM known
QUALIFY deployed OR row_number() OVER (PARTITION BY deployed ORDER BY answers DESC, model) <= $most
ORDER BY deployed DESC, model
"""
KNOWN_SQL = """
SELECT EXISTS (FROM answers WHERE model = $model) OR EXISTS (FROM records WHERE model = $model AND type = $deployed)
  AS known
"""
OPEN_BEYOND_SQL = """
SELECT count(*) AS n FROM records AS alarm
WHERE type = $raised AND NOT list_contains($names, model)
  AND (value ->> '$.direction') = 'drop' AND starts_with(value ->> '$.detector', 'approval')
  AND NOT EXISTS (
    FROM records AS ended WHERE ended.type = $resolved AND (ended.value ->> '$.alarm') = CAST(alarm.event_id AS VARCHAR)
  )
"""


class Models(NamedTuple):
    """Those that are shown by name, the deployed ones first, and how many others there are."""

    names: list[str]
    others: int = 0

    def __str__(self) -> str:
        return ", ".join(self.names) + (f" and {self.others} others" if self.others else "")


class ModelNames:
    """Questions about all models."""

    def __init__(self, cursors: Cursors) -> None:
        self._cursors = cursors

    def all(self) -> list[str]:
        """Models that were ever deployed, asked or told of: what is decided is decided for each."""
        return [row["model"] for row in self._facts(ALL_SQL, [DeploymentChanged.TYPE])]

    def shown(self) -> Models:
        """Models that were ever deployed, and those that were asked or told of most."""
        found = self._facts(MODELS_SQL, {"deployed": DeploymentChanged.TYPE, "most": MOST_TOLD})
        return Models([row["model"] for row in found], found[0]["n"] - len(found) if found else 0)

    def knows(self, model: str) -> bool:
        """Whether it was ever deployed, asked or told of."""
        return bool(self._facts(KNOWN_SQL, {"model": model, "deployed": DeploymentChanged.TYPE})[0]["known"])

    def open_alarms_beyond(self, names: list[str]) -> int:
        """Alarms about all other models that nothing has resolved yet."""
        types = {"raised": DriftDetected.TYPE, "resolved": DriftResolved.TYPE}
        return int(self._facts(OPEN_BEYOND_SQL, {"names": names, **types})[0]["n"])

    def _facts(self, sql: str, values: object) -> list[Fact]:
        with self._cursors.one() as cursor:
            return facts(cursor, sql, values)
