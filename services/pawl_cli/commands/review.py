"""`pawl review`: answers that people are asked to judge because an alarm cannot be explained without them."""

from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console

from pawl_cli.commands.common import DEFAULT_DATA, AsJson, Data, Model, print_json, running, told
from pawl_cli.commands.monitor import monitor_of
from pawl_shared.errors import PawlError
from pawl_shared.policies.values import DEFAULT_MODEL

review_app = typer.Typer(help="Answers that an alarm asks people to judge.", no_args_is_help=True)
LENGTH = 300


@review_app.command("list")
def list_reviews(data: Data = DEFAULT_DATA, model: Model = DEFAULT_MODEL, json: AsJson = False) -> None:
    """List the reviews of a model, how far they are, and what they say.

    Example:  pawl review list
    """
    with told():
        client = monitor_of(running(data), data)
        reviews = client.reviews(model)
        if json:
            print_json(reviews)
            return
        console = Console(highlight=False)
        if not reviews:
            console.print("No review: one is drawn when prompts or answers have changed and hardly anybody rates them.")
        for review in reviews:
            console.print(f"[bold]{review['review']}[/]  {review['time'][:16].replace('T', ' ')} UTC")
            console.print(f"  {review['sentence']}", markup=False)
            console.print(f"  {review['said']}", markup=False)
            console.print(f"  {client.url}/reviews/{review['review']}", markup=False)


@review_app.command("show")
def show(
    review: Annotated[str, typer.Argument(help="Its id, from `pawl review list`.")],
    data: Data = DEFAULT_DATA,
    json: AsJson = False,
) -> None:
    """Show the answers of a review with what reviewers said of them.

    Example:  pawl review show 67d6f457-9c38-5ed0-a05a-ce1dbf26f64f
    """
    with told():
        try:
            identity = UUID(review)
        except ValueError as error:
            raise PawlError(f"{review!r} is no id of a review: `pawl review list` names them") from error
        found = monitor_of(running(data), data).review(str(identity))
        if json:
            print_json(found)
            return
        console = Console(highlight=False)
        console.print(found["review"]["sentence"], markup=False)
        console.print(found["review"]["said"], markup=False)
        for number, item in enumerate(found["answers"], 1):
            console.print(f"\n{number}. {item['inference_id']}  {_verdict(item)}", markup=False)
            for turn in item["messages"]:
                console.print(f"   {turn['role']}: {_cut(turn['content'])}", markup=False)
            if not item["missing"]:
                console.print(f"   answer: {_cut(item['answer'])}", markup=False)
            if item["correction"]:
                console.print(f"   better: {_cut(item['correction'])}", markup=False)


def _verdict(item: dict[str, Any]) -> str:
    if item["missing"]:
        return "not kept any more"
    said = {"up": "good", "down": "bad"}.get(
        item["thumb"] or "", "corrected" if item["correction"] else "not judged yet"
    )
    return f"{said}, by {item['who']}" if item["who"] else said


def _cut(text: str) -> str:
    return text if len(text) <= LENGTH else f"{text[:LENGTH]}…"
