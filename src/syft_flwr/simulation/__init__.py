"""Runs a whole federation on this machine over mock data, to test a project before it gets real data.

* Each participant is a process, started as in a real run (``python main.py``), in a temporary folder of this run. An
  emulator or a local folder replaces the transport (:mod:`syft_flwr.simulation.stand_in`).
* The result comes from the exit codes and the databases of the processes. It is true only if the run was completed and
  no participant died. Also, each data owner must have sent a good reply to each kind of message in which it had losses.
* The records of all participants are kept below ``SYFT_FLWR_HOME``, in ``local/``, for :func:`syft_flwr.open_run`. If
  nothing can be written there, the run continues without them.
* All processes end with the run, even after a failure, a timeout, Ctrl-C, a cancellation or a kill of this process.
  Ctrl-C in a notebook and a cancellation end them within two seconds.

    >>> result = run("examples/diabetes", ["data/hospital_a/mock", "data/hospital_b/mock"])  # doctest: +SKIP
    >>> bool(result), result.metrics["evaluate"]["5"]  # doctest: +SKIP
    (True, {'accuracy': 0.77})
"""

import asyncio
import contextvars
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from syft_flwr.config.user_config import UserConfigValue
from syft_flwr.config.values import parse_seconds
from syft_flwr.disk_errors import told
from syft_flwr.old_arguments import takes_old_arguments
from syft_flwr.runs.recorded_run import RecordedRun
from syft_flwr.simulation.display import Display
from syft_flwr.simulation.federation import Federation, NodeConfig
from syft_flwr.simulation.folders import Folders
from syft_flwr.simulation.interruption import CancelOnInterrupt
from syft_flwr.simulation.supervisor import Supervisor

__all__ = ["prepare", "run"]


@takes_old_arguments({"mock_dataset_paths": "mock_paths"})
def run(
    project_dir: str | Path,
    mock_paths: Iterable[str | Path],
    *,
    transport: str | None = None,
    timeout: float | None = None,
    output_dir: str | Path | None = None,
    log_dir: str | Path | None = None,
    keep_files: bool = False,
    run_config: Mapping[str, UserConfigValue] | str | None = None,
    node_configs: Iterable[NodeConfig] | None = None,
    strict: bool | None = None,
    display: bool | None = None,
) -> "RecordedRun | asyncio.Task[RecordedRun]":
    """Run the federation of a project over mock data, and show its progress and its result.

    Args:
        project_dir: the folder of the Flower project, with or without ``main.py``.
        mock_paths: one path for each datasite, in the order of the datasites; the ``DATA_DIR`` of its process.
        transport: ``syftbox`` or ``p2p``; by default that of the project.
        timeout: seconds after which the run ends as failed; by default no limit.
        output_dir: the ``OUTPUT_DIR`` of the server; by default the caller's ``OUTPUT_DIR``, or ``./output``.
        log_dir: the folder for the logs of the participants; by default ``logs/<time>`` in the project.
        keep_files: keep the temporary folder, which has the keys and databases of all participants.
        run_config: values that replace those of ``[tool.flwr.app.config]``: a mapping, or a text in Flower's syntax.
        node_configs: values for ``context.node_config`` of each data owner, in the order of the datasites: a dict, a text
            in the syntax of Flower, the path of a ``.toml`` file, or None.
        strict: a run with a failed request is no success; by default from the settings.
        display: show the run while it lasts: a table in a terminal and in a notebook, lines elsewhere; by default from the
            settings. The result is printed in any case.

    Returns:
        The run as its aggregator recorded it, with its state, rounds, metrics, losses and paths. It is true only if the run
        succeeded. Inside a running event loop (a notebook), a Task with this result; cancel the Task to end the run.

    Raises:
        ConfigError: the project or an argument cannot be used; nothing was started.
        RunError: a process cannot be started.
        StoreError: the records of the run can be written nowhere.
    """
    supervisor = prepare(
        project_dir,
        mock_paths,
        transport=transport,
        timeout=timeout,
        output_dir=output_dir,
        log_dir=log_dir,
        keep_files=keep_files,
        run_config=run_config,
        node_configs=node_configs,
        strict=strict,
        display=display,
    )
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return supervisor.run().recorded()
    interrupt = CancelOnInterrupt(supervisor.cancel)
    task = loop.create_task(_run_beside(loop, supervisor))
    task.add_done_callback(lambda _: interrupt.close())
    return task


@told()
def prepare(
    project_dir: str | Path,
    mock_paths: Iterable[str | Path],
    *,
    transport: str | None = None,
    timeout: float | None = None,
    output_dir: str | Path | None = None,
    log_dir: str | Path | None = None,
    keep_files: bool = False,
    run_config: Mapping[str, UserConfigValue] | str | None = None,
    node_configs: Iterable[NodeConfig] | None = None,
    strict: bool | None = None,
    display: bool | None = None,
) -> Supervisor:
    """Check the arguments and create the output and log folders, but start no process.

    Arguments and errors are those of :func:`run`.

    Returns:
        A supervisor, for one call of :meth:`Supervisor.run`.
    """
    federation = Federation.load(project_dir, mock_paths, transport, run_config, node_configs, strict, display)
    limit = None if timeout is None else parse_seconds(timeout, "timeout (argument)")
    folders = Folders.make(federation, output_dir, log_dir)
    return Supervisor(federation, folders, limit, Display(is_on=federation.display), keep_files=keep_files)


async def _run_beside(loop: asyncio.AbstractEventLoop, supervisor: Supervisor) -> RecordedRun:
    """Run in a thread. After a cancellation, return only when every process has ended."""
    # A notebook needs the context to print each line below the right cell.
    work = loop.run_in_executor(None, partial(contextvars.copy_context().run, supervisor.run))
    try:
        return (await asyncio.shield(work)).recorded()
    finally:
        supervisor.cancel()
        while not work.done():
            try:
                await asyncio.wait([work])
            except asyncio.CancelledError:
                # Cancelled a second time: still wait until the processes have ended.
                continue
