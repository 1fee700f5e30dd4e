"""The monitor's metrics, each declared once with a line of prose."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

APPROVAL = Gauge("pawl_approval", "Approval of the champion over its latest rated sessions", ["model"])
EVIDENCE = Gauge("pawl_drift_evidence", "Evidence for a drop of approval, in units of the alarm threshold", ["model"])
OPEN_ALARMS = Gauge("pawl_open_alarms", "Alarms that nothing has resolved yet", ["model"])
OF_MODELS = (APPROVAL, EVIDENCE, OPEN_ALARMS)
LISTENERS = Gauge("pawl_console_listeners", "Browsers that follow the console live")
TICKS = Counter("pawl_ticks", "Ticks that were written to the log")
ALERTS = Counter("pawl_alerts", "Posts of alerts, by outcome: sent, failed (tried again), dropped", ["outcome"])
EXPIRED = Counter("pawl_expired_rows", "Rows that were deleted because their time was over")
