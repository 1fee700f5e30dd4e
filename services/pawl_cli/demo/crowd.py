"""A synthetic crowd: visitors who ask through the OpenAI API and say what they think of the answers.

    OPENAI_API_KEY=none python crowd.py --url http://127.0.0.1:8700 --seed 1

It is an application like any other and imports nothing of Pawl. It says in every request that it is synthetic.
Commands arrive as JSON lines on stdin, what was done leaves as JSON lines on stdout:

    in   {"taste": "short"}   {"audience": "unseen"}   {"visitors": 2, "pause": 1.5}   {"stop": true}
    out  {"event": "visit", "number": 7, "audience": …, "taste": …, "approval": 0.5, "answers": [{…}], …}
         {"event": "changed", …}   {"event": "trouble", "text": …}

It ends when stdin does, so it never outlives whoever started it.
"""

import argparse
import asyncio
import json
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import httpx
from openai import APIError, AsyncOpenAI

sys.path.insert(0, str(Path(__file__).parent))  # run as a script: taste.py lies beside this file

from taste import TASTES, Visit, correction, thumb, visit, words  # type: ignore[import-not-found]

MAX_TOKENS = 64
RETRIES = 8  # of one request, with exponential backoff up to 8 s: a service that restarts is back well before


@dataclass
class Orders:
    """What the crowd is told to be like; changed by commands while it runs."""

    taste: str = "anything"
    audience: str = "regular"
    visitors: int = 4
    pause: float = 0.0
    stop: bool = False


class Crowd:
    """Up to `orders.visitors` visitors at once, each a few requests long."""

    def __init__(self, url: str, model: str, seed: int) -> None:
        self.orders = Orders()
        self._model, self._seed = model, seed
        self._openai = AsyncOpenAI(base_url=f"{url}/v1", max_retries=RETRIES, timeout=120)
        self._feedback = httpx.AsyncClient(base_url=url, headers=self._openai.auth_headers, timeout=30)
        self._number = 0

    async def run(self) -> None:
        """Until `orders.stop`; visitors who are there finish first."""
        active: set[asyncio.Task[None]] = set()
        while not self.orders.stop:
            while len(active) < self.orders.visitors and not self.orders.stop:
                self._number += 1
                active.add(asyncio.create_task(self._visit(self._number)))
            if active:
                _, active = await asyncio.wait(active, timeout=0.2, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(0.1)
        if active:
            await asyncio.wait(active)
        await self._openai.close()
        await self._feedback.aclose()

    async def _visit(self, number: int) -> None:
        orders = Orders(**vars(self.orders))  # a visitor keeps the taste with which they came
        rng = Random(f"{self._seed}:{number}:{orders.taste}:{orders.audience}")  # noqa: S311 (no secret)
        plan = visit(rng, orders.audience, TASTES[orders.taste])
        session = f"crowd-{self._seed}-{number}-{rng.getrandbits(32):08x}"
        began = time.time()
        try:
            answers = [await self._ask(rng, plan, session, prompt) for prompt in plan.prompts]
            await self._tell(rng, orders.taste, plan, answers)
        except (APIError, httpx.HTTPError) as error:
            say(event="trouble", number=number, text=f"{type(error).__name__}: {error}")
            await asyncio.sleep(1)
            return
        thumbs = [answer["thumb"] for answer in answers if answer["thumb"] is not None]
        say(
            event="visit", number=number, session=session, user=plan.user, audience=orders.audience,
            taste=orders.taste, began=began, ended=time.time(), answers=answers,
            approval=sum(thumbs) / len(thumbs) if thumbs else None,
        )  # fmt: skip
        await asyncio.sleep(orders.pause)

    async def _ask(self, rng: Random, plan: Visit, session: str, prompt: str) -> dict[str, Any]:
        completion = await self._openai.chat.completions.create(
            model=self._model,
            messages=[{"role": "user", "content": prompt}],
            max_tokens=MAX_TOKENS,
            temperature=0.7,
            top_p=0.9,
            seed=rng.getrandbits(31),
            user=plan.user,
            metadata={"session_id": session, "synthetic": "true"},
        )
        choice = completion.choices[0]
        tags = completion.metadata or {}
        text = choice.message.content or ""
        return {
            "inference_id": completion.id, "token": tags.get("feedback_token", ""), "prompt": prompt, "text": text,
            "words": words(text), "finish": choice.finish_reason, "version": completion.system_fingerprint,
            "arm": tags.get("arm"), "thumb": None, "corrected": None, "compared": False,
        }  # fmt: skip

    async def _tell(self, rng: Random, taste_name: str, plan: Visit, answers: list[dict[str, Any]]) -> None:
        taste = TASTES[taste_name]
        events: list[dict[str, Any]] = []
        for answer in answers:
            about = {"inference_id": answer["inference_id"], "token": answer["token"], "choice": 0}
            liked = thumb(rng, taste, answer["text"])
            answer["thumb"] = liked
            if liked is not None:
                events.append({**about, "thumb": "up" if liked else "down"})
            answer["corrected"] = correction(rng, taste, answer["text"], liked)
            if answer["corrected"]:
                events.append({**about, "correction": answer["corrected"]})
        if plan.compares and answers[0]["words"] != answers[1]["words"]:
            better, worse = sorted(answers, key=lambda answer: int(answer["words"]))
            better["compared"] = True
            over = {"over": worse["inference_id"], "token": worse["token"]}
            about = {"inference_id": better["inference_id"], "token": better["token"], "choice": 0}
            events.append({**about, "comparison": over})
        if events:
            await self._post(events)
        for answer in answers:
            del answer["token"]

    async def _post(self, events: list[dict[str, Any]]) -> None:
        """Deliver feedback; what is busy or restarting (429, 5xx, no connection) is asked again."""
        for attempt in range(RETRIES):
            try:
                response = await self._feedback.post("/v1/feedback", json={"events": events})
                if response.status_code != 429 and response.status_code < 500:
                    response.raise_for_status()
                    return
            except httpx.TransportError:
                if attempt == RETRIES - 1:
                    raise
            await asyncio.sleep(min(8.0, 0.25 * 2**attempt))
        response.raise_for_status()


def say(**fields: Any) -> None:
    """One JSON line on stdout."""
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def obey(crowd: Crowd) -> None:
    """Read commands until stdin ends; then stop."""
    for line in sys.stdin:
        command = json.loads(line)
        for name, value in command.items():
            setattr(crowd.orders, name, value)
        say(event="changed", time=time.time(), **command)
    crowd.orders.stop = True


def main() -> None:
    parser = argparse.ArgumentParser(description="A synthetic crowd for an OpenAI-compatible model.")
    parser.add_argument("--url", required=True, help="address of the API, without /v1")
    parser.add_argument("--model", default="default/assistant")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    async def run() -> None:
        crowd = Crowd(arguments.url.rstrip("/"), arguments.model, arguments.seed)
        threading.Thread(target=obey, args=(crowd,), daemon=True).start()
        await crowd.run()

    asyncio.run(run())


if __name__ == "__main__":
    main()
