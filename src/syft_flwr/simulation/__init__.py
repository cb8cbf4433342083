"""A whole federation on this machine, over mock data: a data scientist's rehearsal before real data is asked.

* One process a participant, started as in real life (``python main.py``), in a temporary folder of this run alone. A
  stand-in takes the place of the transport (:mod:`syft_flwr.simulation.stand_in`).
* What runs and how it ends is taken from the processes and their own records, never assumed: the result is True only if
  the ServerApp succeeded, no participant died, and every data owner that was asked gave at least one good answer.
* However a run ends (done, failed, timed out, Ctrl-C, cancelled, this process killed), no process of it is left.

    >>> run("examples/diabetes", ["data/hospital_a/mock", "data/hospital_b/mock"])  # doctest: +SKIP
    True
"""

import asyncio
import contextvars
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from syft_flwr.config.values import parse_seconds
from syft_flwr.simulation.federation import Federation
from syft_flwr.simulation.folders import Folders
from syft_flwr.simulation.supervisor import Supervisor

__all__ = ["prepare", "run"]


def run(
    project_dir: str | Path,
    mock_paths: Iterable[str | Path],
    *,
    transport: str | None = None,
    timeout: float | None = None,
    output_dir: str | Path | None = None,
    log_dir: str | Path | None = None,
    keep: bool = False,
) -> "bool | asyncio.Task[bool]":
    """Run a project's federation over mock data, and show how it goes on standard output.

    Args:
        project_dir: the folder of the Flower project, with or without ``main.py``.
        mock_paths: the data of each datasite, in the order of the datasites; what it finds as ``DATA_DIR``.
        transport: a name from :data:`syft_flwr.config.TRANSPORTS` that has a stand-in; by default the project's.
        timeout: seconds after which the run is ended as failed; by default never.
        output_dir: what the server finds as ``OUTPUT_DIR``; by default the caller's ``OUTPUT_DIR``, or ``./output``.
        log_dir: where the participants' logs go; by default ``logs/<time>`` in the project.
        keep: leave the temporary folder, with the keys and databases of all participants, for a look at it.

    Returns:
        Whether the run succeeded; inside a running event loop (a notebook) a Task of that, whose cancellation ends the
        run.

    Raises:
        ConfigError: the project or an argument cannot be used; nothing was started.
    """
    supervisor = prepare(
        project_dir,
        mock_paths,
        transport=transport,
        timeout=timeout,
        output_dir=output_dir,
        log_dir=log_dir,
        keep=keep,
    )
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return supervisor.run().succeeded
    return loop.create_task(_run_beside(loop, supervisor))


def prepare(
    project_dir: str | Path,
    mock_paths: Iterable[str | Path],
    *,
    transport: str | None = None,
    timeout: float | None = None,
    output_dir: str | Path | None = None,
    log_dir: str | Path | None = None,
    keep: bool = False,
) -> Supervisor:
    """Check everything and make the folders that stay, with the arguments and errors of :func:`run`; start nothing."""
    federation = Federation.load(project_dir, mock_paths, transport)
    limit = None if timeout is None else parse_seconds(timeout, "timeout (argument)")
    return Supervisor(federation, Folders.make(federation, output_dir, log_dir), limit, keep=keep)


async def _run_beside(loop: asyncio.AbstractEventLoop, supervisor: Supervisor) -> bool:
    """Run in a thread; when this is cancelled, come back only after every process has ended."""
    # A notebook finds the cell that a line belongs to through the context.
    work = loop.run_in_executor(None, partial(contextvars.copy_context().run, supervisor.run))
    try:
        return (await asyncio.shield(work)).succeeded
    finally:
        supervisor.cancel()
        while not work.done():
            try:
                await asyncio.wait([work])
            except asyncio.CancelledError:
                # Asked for twice; the processes still end first.
                continue
