"""A ClientApp of many bad manners, for one worker process: each message type is one of them.

A test writes the path of its folder into the variable ``WILD_FOLDER``. The app writes its notes there.
"""

import asyncio
import atexit
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

FOLDER = Path(os.environ["WILD_FOLDER"])
app = ClientApp()


class OwnEnd(BaseException):
    pass


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise SystemExit("no text")


class WrongTextError(Exception):
    def __str__(self) -> str:
        return 7  # type: ignore[return-value]  # noqa: PLE0307


class HugeError(Exception):
    def __str__(self) -> str:
        return "x" * 100_000_000


class Forged(type):
    @property
    def __name__(cls) -> str:
        raise SystemExit("no name")


class NamelessError(Exception, metaclass=Forged):
    pass


class UnpicklableError(Exception):
    def __reduce__(self) -> str:
        raise TypeError("not this one")


def deep(depth: int = 0) -> int:
    return deep(depth + 1) + 1


def _error(name: str) -> BaseException:
    return {
        "exit": lambda: SystemExit(3),
        "exit_text": lambda: SystemExit("diverged"),
        "exit_none": SystemExit,
        "interrupt": KeyboardInterrupt,
        "cancel": asyncio.CancelledError,
        "generator": GeneratorExit,
        "own": OwnEnd,
        "unprintable": UnprintableError,
        "wrong_text": WrongTextError,
        "huge": HugeError,
        "nameless": NamelessError,
        "unpicklable": lambda: UnpicklableError(threading.Lock()),
        "memory": MemoryError,
        "control": type("Con\x1b[31mtrol\n", (Exception,), {}),
        "group": lambda: ExceptionGroup("many", [ValueError(number) for number in range(1000)]),
    }[name]()


@app.query("raise")
def raise_it(message: Message, context: Context) -> Message:
    asked = message.content["config"]
    if asked["thread"]:
        threading.Thread(target=time.sleep, args=(600,)).start()
    if asked["name"] == "recursion":
        deep()
    raise _error(str(asked["name"]))


@app.query("echo")
def echo(message: Message, context: Context) -> Message:
    return Message(RecordDict({"answer": MetricRecord({"process": os.getpid()})}), reply_to=message)


@app.query("argv")
def argv(message: Message, context: Context) -> Message:
    path = [entry or "(empty)" for entry in sys.path]
    return Message(
        RecordDict({"answer": ConfigRecord({"argv": sys.argv, "path": path, "executable": sys.executable})}),
        reply_to=message,
    )


@app.query("streams")
def streams(message: Message, context: Context) -> Message:
    """Use the standard streams in every way, then close them."""
    print("printed by the app")  # noqa: T201
    os.write(1, b"written by the app\n")
    subprocess.run([sys.executable, "-c", "print('printed by a child')"], check=True)
    subprocess.run(["/bin/sh", "-c", "cat; echo done"], check=True)
    assert sys.stdin.read() == ""
    for number in (0, 1, 2):
        os.close(number)
    os.chdir("/")
    return echo(message, context)


@app.query("statements")
def statements(message: Message, context: Context) -> Message:
    """Run the statements that are the name, with the names of this module."""
    exec(str(message.content["config"]["name"]), globals() | {"context": context})
    return echo(message, context)


@app.query("reopen")
def reopen(message: Message, context: Context) -> Message:
    """Close all files, then open others with the same numbers."""
    os.closerange(0, 1024)
    for _ in range(250):
        os.open(os.devnull, os.O_RDWR)
    return echo(message, context)


@app.query("write")
def write(message: Message, context: Context) -> Message:
    """Write to every open file, also to the connection of the worker."""
    for number in range(1024):
        with contextlib.suppress(OSError):
            os.write(number, b"{}\n")
    return echo(message, context)


@app.query("hang")
def hang(message: Message, context: Context) -> Message:
    """Never end. With the name ``deaf``, ignore SIGTERM."""
    if message.content["config"]["name"] == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note("here", os.getpid())
    while True:
        time.sleep(600)


@app.query("tidy")
def tidy(message: Message, context: Context) -> Message:
    """Leave work for the end of the process: handlers, an open file, and perhaps a thread that never ends."""
    atexit.register((FOLDER / "atexit").write_text, "ran")
    context.state["kept"] = MetricRecord({"a": 1})
    file = (FOLDER / "unflushed").open("w")
    file.write("flushed")
    globals()["kept_open"] = file
    if message.content["config"]["thread"]:
        threading.Thread(target=time.sleep, args=(600,)).start()
    return echo(message, context)


@app.query("family")
def family(message: Message, context: Context) -> Message:
    """Start a process in a session of its own, whose parent ends at once, then work until the end."""
    code = "import os, subprocess, sys; print(subprocess.Popen(['sleep', '600'], start_new_session=True, stdout=-3, stderr=-3).pid)"
    child = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    note("family", child)
    if message.content["config"]["name"] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if message.content["config"]["name"] == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if message.content["config"]["name"] != "answer":
        time.sleep(600)
    return echo(message, context)


@app.query("grow")
def grow(message: Message, context: Context) -> Message:
    """End the process if it has served before; note each attempt."""
    attempts = FOLDER / "attempts"
    with attempts.open("a") as file:
        file.write("x")
    if len(attempts.read_text()) <= int(message.content["config"]["name"]):
        os.kill(os.getpid(), signal.SIGKILL)
    return echo(message, context)


@app.query("fork")
def fork(message: Message, context: Context) -> Message:
    """Let a forked child return into the code of the worker."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    return echo(message, context)


def note(name: str, text: object) -> None:
    """Write a file in one step, so that a test never reads half of it."""
    temporary = FOLDER / f"{name}.part"
    temporary.write_text(str(text))
    temporary.rename(FOLDER / name)
