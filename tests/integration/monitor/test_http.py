"""The monitor as it runs: runner, ticker and web server on the memory bus; API, live feed, and a real browser."""

import json
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
from support.monitor import BASE, MODEL, interaction

from pawl_monitor.app import build
from pawl_monitor.server import MonitorService
from pawl_monitor.settings import MonitorSettings
from pawl_shared import events as e
from pawl_shared.access.tokens import is_marked, key_ring
from pawl_shared.artifacts import ArtifactStore
from pawl_shared.buses.memory_bus import MemoryBus
from pawl_shared.buses.port import Record
from pawl_shared.clock import SystemClock
from pawl_shared.codec import decode, encode
from pawl_shared.errors import ArtifactError, ConfigurationError
from pawl_shared.sealed.text import is_sealed
from pawl_shared.topics import FEEDBACK, TOPICS

PROXY = ("https://pawl.example.com:443",)
THREADS = 40  # in which the web server answers


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "did not happen"
        time.sleep(0.02)


class Running:
    """A monitor that serves HTTP."""

    def __init__(self, folder: Path) -> None:
        self.bus = MemoryBus()
        self.bus.create_topics(TOPICS)
        settings = MonitorSettings(
            data_dir=folder, http_port=0, tick_seconds=0.2, session_gap_seconds=0.3, console_hosts=PROXY
        )
        self.ring = key_ring(settings)
        self.service: MonitorService = build(settings, bus=self.bus)
        self.stop = threading.Event()
        self._thread = threading.Thread(target=self.service.run, args=(self.stop,))
        self._thread.start()
        wait_for(lambda: self.service.url and self.service.health.ready)
        self.url = self.service.url or ""
        self._producer = self.bus.producer("test")

    def publish(self, *events: e.Event) -> None:
        for event in events:
            self._producer.send(encode(event))

    def deploy(self) -> None:
        champion = e.DeployedVersion(version=BASE, base=BASE, graph="d" * 64)
        now = SystemClock().now()
        self.publish(
            e.DeploymentChanged(
                id=uuid4(), time=now, source="test", model=MODEL, revision=1, champion=champion, change="registered"
            )
        )
        wait_for(lambda: self.service.reader.models.all() == [MODEL])

    def rate(self, number: int, reward: float) -> None:
        self.publish(*interaction(number, SystemClock().now(), reward=reward))

    def records(self, topic: str) -> list[Record]:
        """All that is on a topic now."""
        found: list[Record] = []
        for record in self.bus.read(topic, lambda: False, timeout=0.1):
            if record is None:
                return found
            found.append(record)
        return found

    def get(self, path: str, **parameters: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", params=parameters, timeout=30)

    def close(self) -> None:
        self.stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("monitor"))
    assert "No model yet" in running.get("/").text
    running.deploy()
    yield running
    running.close()


def test_probes_are_answered_while_all_others_wait_for_a_store_that_does_not_answer(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, answers = threading.Semaphore(0), threading.Event()

    def silent(_: ArtifactStore, digest: str) -> Path:
        waiting.release()
        answers.wait()
        raise ArtifactError("it never answered")

    monkeypatch.setattr(ArtifactStore, "fetch_folder", silent)
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            for _ in range(THREADS):
                pool.submit(running.get, f"/api/datasets/{BASE}")
            assert all(waiting.acquire(timeout=30) for _ in range(THREADS))
            assert [running.get(path).status_code for path in ("/healthz", "/readyz")] == [200, 200]
        finally:
            answers.set()


def test_probes_and_metrics(running: Running) -> None:
    assert running.get("/healthz").status_code == 200
    assert running.get("/readyz").text == "ready\n"
    assert "pawl_ticks_total" in running.get("/metrics").text
    assert f'pawl_open_alarms{{model="{MODEL}"}} 0.0' in running.get("/metrics").text


def test_an_answer_with_its_feedback_and_lineage(running: Running) -> None:
    running.rate(1, 1.0)
    identity = str(interaction(1, SystemClock().now())[0].inference_id)
    wait_for(lambda: running.get(f"/api/interactions/{identity}").status_code == 200)
    wait_for(lambda: running.get(f"/api/interactions/{identity}").json()["reward"] == 1.0)
    found = running.get(f"/api/interactions/{identity}").json()
    assert found["messages"][0]["role"] == "user"
    assert [event["kind"] for event in found["feedback_events"]] == ["thumb"]
    assert found["lineage"]["kind"] == "base"
    wait_for(lambda: running.get("/api/overview", model=MODEL).json()["counts"]["rated"] >= 1)


def test_what_is_not_there_says_what_to_do(running: Running) -> None:
    unknown = running.get(f"/api/interactions/{UUID(int=0)}")
    assert (unknown.status_code, "few seconds" in unknown.json()["detail"]) == (404, True)
    other = running.get("/api/overview", model="nobody/nothing")
    assert (other.status_code, MODEL in other.json()["detail"]) == (404, True)
    assert running.get(f"/api/datasets/{'0' * 64}").status_code == 404
    assert running.get("/events", model="nobody/nothing").status_code == 404


@pytest.mark.parametrize("path", [f"/alarms/{UUID(int=404)}", "/alarms/none", "/?model=nobody/nothing", "/nothing"])
def test_a_browser_gets_a_page_also_of_what_is_not_there(running: Running, path: str) -> None:
    found = httpx.get(f"{running.url}{path}", headers={"Accept": "text/html,*/*;q=0.8"}, timeout=30)
    assert (found.status_code, "Not found</h1>" in found.text) == (404, True)
    assert "default-src 'none'" in found.headers["content-security-policy"]
    assert httpx.get(f"{running.url}{path}", timeout=30).headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "path", ["approval", "alarms", "trigger", "runs", "deployments", "versions", "datasets", "models"]
)
def test_every_view_answers(running: Running, path: str) -> None:
    assert running.get(f"/api/{path}", model=MODEL).status_code == 200


def test_what_is_proven_of_each_detector_is_told(running: Running) -> None:
    told = running.get("/api/trigger", model=MODEL).json()["detectors"]
    assert told.keys() == {"approval", "traffic", "output"}
    assert all("false alarm" in sentence for sentence in told.values())
    page = running.get("/").text
    assert all(f"Detector {name}: " in page for name in told)


def test_a_review_is_judged_at_the_console_and_told_apart_from_users(running: Running) -> None:
    asked = [interaction(number, SystemClock().now())[0] for number in range(5000, 5014)]
    running.publish(*asked)
    wait_for(lambda: running.get(f"/api/interactions/{asked[-1].inference_id}").status_code == 200)
    alarm, review = uuid4(), uuid4()
    rate = e.Interval(point=0.5, low=0.4, high=0.6, n=100)
    common = {"time": SystemClock().now(), "source": "test", "model": MODEL, "version": BASE, "since": asked[0].time}
    ids = tuple(one.inference_id for one in asked)
    items = tuple(e.ReviewItem(inference_id=one, cluster=0) for one in (*ids, uuid4()))
    group = e.PromptCluster(before=rate, after=rate, moved=True, examples=ids[:2])
    running.publish(
        e.DriftDetected(
            id=alarm, **common, detector="traffic/latest", direction="drift", before=rate, after=rate, sessions=200,
            evidence=2.0, threshold=1.0, sentence="It <moved>.", statistic="prompts", examples=ids[:1],
            clusters=(group,),
            advice=e.Advice(cure="review", sentence="Judge a sample first."),
        ),
        e.ReviewRequested(
            id=review, **common, alarm=alarm, items=items, population=40, rated=0, sentence="Please judge 15."
        ),
    )  # fmt: skip
    wait_for(lambda: running.get(f"/api/reviews/{review}").status_code == 200)
    url = f"{running.url}/api/reviews/{review}/answers"

    def judge(one: UUID, **said: str) -> httpx.Response:
        headers = {"X-Pawl-Review": "1"}
        return httpx.post(f"{url}/{one}", json={"post": str(uuid4()), "who": "ada", **said}, headers=headers)

    assert httpx.post(f"{url}/{ids[0]}", json={"post": str(uuid4()), "thumb": "up"}).status_code == 403
    assert [judge(uuid4(), thumb="up").status_code, judge(ids[0]).status_code] == [404, 422]
    assert judge(ids[0], thumb="down", correction="  Better so. ").status_code == 202
    assert [judge(one, thumb="up").status_code for one in ids[1:12]] == [202] * 11
    found = [record for record in running.records(FEEDBACK.name) if is_marked(running.ring, record)]
    said = [event for event in map(decode, found) if isinstance(event, e.FeedbackReceived)]
    assert len(said) == len(found) == 13
    assert {(event.review, event.who) for event in said} == {(review, "ada")}
    assert {event.session for event in said if event.inference_id == ids[0]} == {"session 5000"}
    assert [is_sealed(event.text) for event in said if event.text] == [True]
    for event in said:  # as streams would
        running.publish(
            e.InteractionScored(
                id=uuid4(), time=event.time, source="test", inference_id=event.inference_id, model=MODEL,
                session=event.session, revision=1, feedback=event,
            )
        )  # fmt: skip
    wait_for(lambda: running.get(f"/api/reviews/{review}").json()["review"]["reviewed"] == 12)
    shown = running.get(f"/api/reviews/{review}").json()
    assert (shown["review"]["approval"]["n"], round(shown["review"]["approval"]["point"], 3)) == (12, 0.917)
    first, *_, missing = shown["answers"]
    assert (first["thumb"], first["correction"], first["who"], missing["missing"]) == (
        "down",
        "Better so.",
        "ada",
        True,
    )
    assert running.get("/api/reviews").json()[0]["review"] == str(review)
    page = running.get(f"/reviews/{review}").text
    assert ("12 of 15 reviewed" in page, "Better so." in page) == (True, True)
    page = running.get(f"/alarms/{alarm}").text
    assert ("It &lt;moved&gt;." in page, "Judge a sample first." in page, "What is " in page) == (True, True, True)
    assert [running.get(path).status_code for path in (f"/alarms/{uuid4()}", f"/reviews/{uuid4()}")] == [404, 404]


def test_pages_allow_nothing_but_their_own_files(running: Running) -> None:
    page = running.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "style=" not in page.text
    assert "<script>" not in page.text
    assert running.get("/static/vendor/uplot.LICENSE").status_code == 200


def test_a_name_that_leads_here_reaches_nothing_but_probes(running: Running) -> None:
    def status(path: str, host: str) -> int:
        return httpx.get(f"{running.url}{path}", headers={"Host": host}, timeout=30).status_code

    assert {status(path, "evil.example:8003") for path in ("/", "/api/models", "/static/app.css")} == {421}
    assert status("/", "localhost.evil.example") == 421
    assert [status(path, "monitor.cluster") for path in ("/healthz", "/readyz", "/metrics")] == [200] * 3
    ours = ("localhost:8003", "LOCALHOST", "127.0.0.1", "[::1]:8003", "192.168.1.5:8003", "pawl.example.com")
    assert [status("/api/models", host) for host in ours] == [200] * 6
    refused = httpx.get(running.url, headers={"Host": "evil.example"})
    assert "PAWL_CONSOLE_HOSTS" in refused.json()["detail"]
    assert "content-security-policy" in refused.headers
    with pytest.raises(ValueError, match=r"pawl\.example\.com"):
        MonitorSettings(console_hosts=("",))


def test_only_the_consoles_own_page_may_write(running: Running) -> None:
    url = f"{running.url}/api/reviews/{uuid4()}/answers/{uuid4()}"

    def post(**headers: str) -> int:
        body = {"post": str(uuid4()), "thumb": "up"}
        return httpx.post(url, json=body, headers={"X-Pawl-Review": "1"} | headers, timeout=30).status_code

    for foreign in ("http://evil.example", "null", "http://127.0.0.1:1", "http://localhost"):
        assert post(Origin=foreign) == 403, foreign
    allowed = (running.url, "https://pawl.example.com")  # the second by a proxy that sends its own Host
    assert [post(), *(post(Origin=origin) for origin in allowed)] == [404] * 3


def test_the_feed_sends_what_changed(running: Running) -> None:
    with httpx.stream("GET", f"{running.url}/events", params={"model": MODEL}, timeout=30) as stream:
        lines = stream.iter_lines()
        assert any(line == "event: headline" for line in lines)
        before = running.service.reader.counts(MODEL, SystemClock().now())["answers"]
        running.rate(1000, 1.0)
        assert any(f'<span class="value">{before + 1}</span>' in line for line in lines)


# A point of another year is drawn with its day.
LONG_AGO = """() => {
  const point = { time: 1e9, version: "v", point: 0.5, low: 0.4, high: 0.6, n: 9 };
  const data = { champion: [point], challenger: [], marks: [], evidence: [] };
  document.getElementById("chart-data").textContent = JSON.stringify(data);
  dispatchEvent(new Event("resize"));
}"""


def chromium() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.browser
@pytest.mark.skipif(
    chromium() is None and not os.environ.get("CI"), reason="no Chromium here: apt-get install chromium"
)
def test_a_browser_sees_values_change_live(running: Running) -> None:
    from playwright.sync_api import expect, sync_playwright

    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    problems: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        page = browser.new_page(viewport={"width": 360, "height": 800})
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.goto(running.url)
        expect(page.locator("#live")).to_have_text("Live", timeout=20_000)
        rated = page.locator(".node", has_text="Rated sessions").locator(".value")
        before = int(rated.inner_text())
        for number in range(2000, 2003):
            running.rate(number, 1.0)
        expect(rated).to_have_text(str(before + 3), timeout=20_000)
        expect(page.locator("#approval-now")).to_contain_text("%", timeout=20_000)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360

        def shows_long_ago() -> bool:
            page.evaluate(LONG_AGO)  # the feed may bring newer data before the page draws these
            page.wait_for_timeout(500)
            return bool(re.search("2001.* ..:..:..", page.locator("#chart-table td").first.text_content() or ""))

        wait_for(shows_long_ago)
        page.locator("#theme").click()
        assert page.evaluate("document.documentElement.dataset.theme") == "light"
        browser.close()
    assert problems == []


def test_it_stops_in_an_orderly_way_and_comes_back_with_everything(tmp_path: Path) -> None:
    first = Running(tmp_path)
    first.deploy()
    first.rate(1, 1.0)
    wait_for(lambda: first.service.reader.counts(MODEL, SystemClock().now())["feedback"] == 1)
    first.close()
    second = Running(tmp_path)
    counts = second.get("/api/overview").json()["counts"]
    assert (counts["answers"], counts["feedback"]) == (1, 1)
    assert json.loads(second.get("/api/models").text)[0]["model"] == MODEL
    second.close()


def test_a_taken_port_is_a_clear_error(running: Running, tmp_path: Path) -> None:
    settings = MonitorSettings(data_dir=tmp_path, http_port=int(running.url.rsplit(":", 1)[1]))
    with pytest.raises(ConfigurationError, match="PAWL_HTTP_PORT"):
        build(settings, bus=running.bus).run(threading.Event())
