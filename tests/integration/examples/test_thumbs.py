"""The widget of the examples in a real Chromium, on its example page, in front of a service."""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.api_keys import a_key
from support.http_service import serving
from support.inference import World, eventually
from support.project import ROOT

from pawl_cli.running.ports import any_free
from pawl_cli.running.stack import KNOWN_PORTS
from pawl_shared.topics import FEEDBACK

PATH = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(
    PATH is None and not os.environ.get("CI"), reason="no Chromium here: apt-get install chromium"
)


def example_server() -> Any:
    path = ROOT / "examples" / "thumbs" / "serve.py"
    spec = importlib.util.spec_from_file_location("thumbs_serve", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["thumbs_serve"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def page_of_chat(tmp_path: Path) -> Iterator[tuple[str, str, World]]:
    world, port, page = World(tmp_path), any_free(), any_free()
    world.deploy(1)
    origins = (f"http://127.0.0.1:{page}",)
    with serving(world.build(http_port=port, feedback_origins=origins), port) as url:
        server = example_server().Server(("127.0.0.1", page), url, "assistant")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{page}/", url, world
        server.shutdown()
        thread.join(30)
        server.server_close()


def said(world: World, count: int) -> list[tuple[str, Any]]:
    found = eventually(lambda: every if len(every := world.read(FEEDBACK)) >= count else None)
    return [(each.kind, each.text if each.value is None else each.value) for each in found]


def test_its_page_does_not_want_the_consoles_port_and_a_taken_one_is_told() -> None:
    program = (ROOT / "examples" / "thumbs" / "serve.py").read_text()
    assert not [port for port in KNOWN_PORTS.values() if f"default={port}" in program]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [sys.executable, "examples/thumbs/serve.py", "--port", str(taken.getsockname()[1])]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, "--port" in ended.stderr, "Traceback" in ended.stderr) == (2, True, False)


def test_the_program_asks_and_rates_with_a_key_that_no_page_sees(tmp_path: Path) -> None:
    world, port, page = World(tmp_path), any_free(), any_free()
    world.deploy(1)
    key = a_key(tmp_path / "data" / "keys" / "api.keys", "infer", "feedback")
    program = [sys.executable, str(ROOT / "examples" / "thumbs" / "serve.py"), "--port", str(page)]
    with (
        serving(world.build(http_port=port), port) as pawl,
        subprocess.Popen(
            [*program, "--pawl", pawl], env=os.environ | {"PAWL_API_KEY": key}, stdout=subprocess.DEVNULL
        ) as child,
        httpx.Client(base_url=f"http://127.0.0.1:{page}", timeout=30) as client,
    ):
        try:
            eventually(lambda: reached(client))
            asked = {"messages": [{"role": "user", "content": "What is a pawl?"}], "session": "one"}
            answer = client.post("/chat", json=asked)
            assert answer.status_code == 200, answer.text
            given = answer.json()
            vote = {"inference_id": given["id"], "token": given["token"], "thumb": "up"}
            assert client.post("/v1/feedback", json=vote).status_code == 202
            assert said(world, 1) == [("thumb", 1.0)]
            assert key not in "".join(client.get(path).text for path in ("/", "/pawl-thumbs.js")) + answer.text
        finally:
            child.terminate()


def reached(client: httpx.Client) -> bool:
    try:
        return client.get("/").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.browser
@needs_browser
def test_a_person_rates_an_answer_also_without_a_connection(page_of_chat: tuple[str, str, World]) -> None:
    from playwright.sync_api import expect, sync_playwright

    url, pawl, world = page_of_chat
    problems: list[str] = []
    keys: list[str | None] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PATH, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(viewport={"width": 360, "height": 800})
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(url)
        page.get_by_label("Your question").fill("What is a pawl?")
        page.get_by_role("button", name="Ask").click()
        group = page.get_by_role("group", name="Rate this answer")
        down, up = group.get_by_role("button", name="Bad answer"), group.get_by_role("button", name="Good answer")
        expect(down).to_be_visible(timeout=20_000)

        # by the keyboard alone
        up.focus()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(group.get_by_role("status")).to_have_text("Thank you.", timeout=20_000)
        expect(down).to_have_attribute("aria-pressed", "true")
        assert said(world, 1) == [("thumb", 0.0)]
        page.keyboard.press("Tab")
        page.keyboard.type("too long")
        page.get_by_label("What should it have said?").fill("A catch.")
        page.get_by_role("button", name="Send").click()
        assert sorted(said(world, 3)[1:]) == [("comment", "too long"), ("correction", "A catch.")]
        assert page.evaluate("document.documentElement.scrollWidth") <= 360

        # another opinion without a connection: it waits, also over a reload, and counts once
        thumbs = page.locator("pawl-thumbs")
        mine = {name: thumbs.get_attribute(name) for name in ("inference-id", "token")}
        page.on(
            "request", lambda r: keys.append(r.headers.get("idempotency-key")) if r.url.endswith("feedback") else None
        )
        page.route("**/v1/feedback", lambda route: route.abort())
        up.click()
        expect(group.get_by_role("status")).to_contain_text("Saved.", timeout=20_000)
        waiting = json.loads(page.evaluate("localStorage.getItem('pawl-thumbs')"))
        assert [post["body"]["thumb"] for post in waiting] == ["up"]
        page.unroute("**/v1/feedback")
        page.reload()
        assert said(world, 4)[3] == ("thumb", 1.0)
        page.wait_for_function("localStorage.getItem('pawl-thumbs') === null", timeout=20_000)

        assert len(keys) >= 2
        assert keys[0]
        assert len(set(keys)) == 1, "a repeat under another key would count twice"

        # from a page of another origin, straight to Pawl
        page.set_content(
            f"<pawl-thumbs server='{pawl}' inference-id='{mine['inference-id']}' token='{mine['token']}'></pawl-thumbs>"
        )
        page.add_script_tag(url=f"{url}pawl-thumbs.js", type="module")
        page.get_by_role("button", name="Bad answer").click()
        expect(page.get_by_role("status")).to_have_text("Thank you.", timeout=20_000)
        assert said(world, 5)[4] == ("thumb", 0.0)

        # more than browsers send behind a page that was left, and nowhere to keep it meanwhile
        page.evaluate("void (Storage.prototype.setItem = () => { throw new Error('full') })")
        page.get_by_label("What should it have said?").fill("ä" * 40_000)
        page.get_by_role("button", name="Send").click()
        assert said(world, 6)[5] == ("correction", "ä" * 40_000)

        # what is refused for good is said, and not tried again; texts are the page's own
        page.set_content(
            "<html lang='de'><pawl-thumbs inference-id='x' token='v1.forged' label-up='Gute Antwort' fields=''"
            " text-failed='Das ging nicht.'></pawl-thumbs></html>"
        )
        page.add_script_tag(url=f"{url}pawl-thumbs.js", type="module")
        page.get_by_role("button", name="Gute Antwort").click()
        expect(page.get_by_role("status")).to_have_text("Das ging nicht.", timeout=20_000)
        assert page.evaluate("localStorage.getItem('pawl-thumbs')") is None
        assert page.locator("textarea").count() == 0

        # the page says so when nobody answers
        page.goto(url)
        page.route("**/chat", lambda route: route.abort())
        page.get_by_label("Your question").fill("Are you there?")
        page.get_by_role("button", name="Ask").click()
        expect(page.get_by_text("the chat's server is away")).to_be_visible(timeout=20_000)
        browser.close()
    assert problems == []
