"""What people see while something runs: one bar for what goes on now, and lines that stay above it."""

import time
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

MOODS = {"good": "green", "bad": "red", "plain": ""}
PLAIN_EVERY = 0.25  # without a terminal, a bar becomes one line for each quarter of the way


class Terminal:
    """A live bar below a story. Without a terminal (a pipe, CI) it prints plain lines only."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[words]}"),
            console=self.console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._step = ""
        self._since = time.monotonic()
        self._told = 0.0

    def __enter__(self) -> "Terminal":
        if self.console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def line(self, who: str, text: str, mood: str = "plain") -> None:
        """A line of the story, with the time and who says it."""
        style = MOODS[mood]
        body = f"[{style}]{escape(text)}[/]" if style else escape(text)
        # in a pipe, a sentence stays on one line
        self.console.print(
            f"[dim]{time.strftime('%H:%M:%S')} {who:>9}[/]  {body}", soft_wrap=not self.console.is_terminal
        )

    def step(self, name: str, fraction: float | None = None, words: str = "") -> None:
        """The step that goes on now; `fraction` in [0, 1] or None when nobody knows."""
        if name != self._step:
            self._finish()
            self._step, self._since, self._told = name, time.monotonic(), 0.0
            self._task = self._bar.add_task(name, total=None if fraction is None else 1.0, words=words[:100])
            if not self.console.is_terminal:
                self.line("…", name)
        if self._task is None:
            return
        if fraction is None:
            self._bar.update(self._task, words=words[:100])
        else:
            self._bar.update(self._task, total=1.0, completed=fraction, words=words[:100])
        self._tell_plainly(fraction, words)

    def _tell_plainly(self, fraction: float | None, words: str) -> None:
        if self.console.is_terminal or fraction is None or fraction < self._told + PLAIN_EVERY:
            return
        self._told = fraction - fraction % PLAIN_EVERY
        self.line("…", f"{self._step}: {fraction:.0%} {words}")

    def done(self) -> None:
        """The current step is over, and no other follows."""
        self._finish()
        self._step = ""

    def _finish(self) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None
            seconds = time.monotonic() - self._since
            if seconds >= 1:
                self.console.print(f"[dim]{time.strftime('%H:%M:%S')}         ✓  {self._step}: {seconds:.0f} s[/]")
