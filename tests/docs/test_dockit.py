"""The kit that executes the documents: each rule of a block, and each way in which a page can be wrong."""

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dockit import execution
from dockit.environment import clean_variables
from dockit.execution import Execution, execute
from dockit.faults import DocumentError
from dockit.machine import Machine
from dockit.page import read_page
from dockit.processes import Mark

Run = Callable[..., None]


def page(folder: Path, text: str) -> Path:
    path = folder / "page.md"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Return a function that executes a page on two machines without the package."""
    mark = Mark()
    machines: dict[str, Machine] = {}
    for name in ("ds", "do1"):
        home = tmp_path / name
        home.mkdir()
        variables = clean_variables(home, home) | mark.environment
        variables["PATH"] = f"{Path(sys.prefix) / 'bin'}:{variables['PATH']}"
        machines[name] = Machine(home, variables, tmp_path / "scripts" / name)

    def run_page(text: str, seconds: float = 30.0) -> None:
        Execution(read_page(page(tmp_path, text)), machines, seconds, 60.0).run()

    yield run_page
    for machine in machines.values():
        machine.close()
    mark.end_all()


def test_a_shell_lasts_over_the_blocks_of_a_page(run: Run) -> None:
    run("""\
        ```sh
        mkdir sub && cd sub
        export COLOUR=red
        f() { echo "$1 in $(basename "$PWD")"; }
        ```

        1. In a list:

           ```sh
           f $COLOUR
           ```

           ```text
           red in sub
           ```
        """)


def test_a_block_of_two_terminals_runs_in_both(run: Run) -> None:
    run("""\
        <!-- block: on ds do1 -->
        ```sh
        mkdir -p sub && cd sub && pwd
        ```
        <!-- block: on ds do1 -->
        ```text
        …/sub
        ```
        ```sh
        ls -d ../../do1/sub
        ```
        """)


def test_each_terminal_has_a_shell_of_its_own(run: Run) -> None:
    run("""\
        <!-- block: on do1 -->
        ```sh
        colour=red
        ```

        ```sh
        echo "$(basename "$PWD"): ${colour-none}"
        ```

        ```text
        ds: none
        ```
        """)


@pytest.mark.parametrize(
    "commands",
    [
        "false",
        "false\necho after",
        "false | cat\necho after",
        "(exit 3)\necho after",
        "f() { false; echo after; }\nf",
        "there-is-no-such-program",
        "exit 0",
        "if true; then",
    ],
)
def test_a_failing_command_fails_the_page(run: Run, commands: str) -> None:
    with pytest.raises(DocumentError, match=r"page\.md:1: exit code"):
        run(f"```sh\n{commands}\n```\n")


def test_the_error_has_the_commands_and_all_their_output(run: Run) -> None:
    with pytest.raises(DocumentError, match="exit code 7; `sh -c 'exit 7'` failed") as error:
        run("```sh\necho to stdout\necho to stderr >&2\nsh -c 'exit 7'\n```\n")
    assert "    to stdout\n    to stderr\n" in str(error.value)


def test_a_block_that_fails_has_this_exit_code(run: Run) -> None:
    run("<!-- block: fails 2 -->\n```sh\nsh -c 'exit 2'\n```\n```sh\necho still here\n```\n")
    for commands in ("true", "sh -c 'exit 3'"):
        with pytest.raises(DocumentError, match="must have 2"):
            run(f"<!-- block: fails 2 -->\n```sh\n{commands}\n```\n")


def test_a_hanging_block_fails_at_its_deadline(run: Run) -> None:
    with pytest.raises(DocumentError, match=r"page\.md:1: not ended after 1 s") as error:
        run("```sh\necho begun\nsleep 1000\n```\n", seconds=1.0)
    assert "    begun\n" in str(error.value)


@pytest.mark.parametrize(
    ("expected", "is_right"),
    [
        ("one\nthree", True),
        ("t…o 2\n…\nthree", True),
        ("three\none", False),
        ("one\none", False),
        ("four", False),
        ("thre", False),
        ("o.e", False),
    ],
)
def test_the_lines_of_an_output_appear_in_their_order(run: Run, expected: str, is_right: bool) -> None:
    text = f"```sh\nprintf 'one\\ntwo 2\\nthree\\n'\n```\n\n```text\n{expected}\n```\n"
    if is_right:
        run(text)
    else:
        with pytest.raises(DocumentError, match=r"page\.md:5: this line is not in the output"):
            run(text)


def test_a_block_in_the_background_is_checked_at_its_end(run: Run) -> None:
    text = """\
        <!-- block: on do1, background -->
        ```sh
        until [ -e ../ds/go ]; do sleep 0.01; done; sh -c 'exit {code}'
        echo gone
        ```

        ```text
        {output}
        ```

        ```sh
        touch go
        ```
        """
    run(text.format(code=0, output="gone"))
    with pytest.raises(DocumentError, match=r"page\.md:7: this line is not in the output"):
        run(text.format(code=0, output="still here"))
    with pytest.raises(DocumentError, match=r"page\.md:2: exit code 3"):
        run(text.format(code=3, output="gone"))


def test_a_terminal_shows_the_output_of_its_latest_block(run: Run) -> None:
    run("""\
        <!-- block: on do1 -->
        ```sh
        echo one
        ```
        ```sh
        echo two
        ```
        <!-- block: on do1 -->
        ```text
        one
        ```
        """)


def test_a_block_until_stopped_gets_ctrl_c(run: Run) -> None:
    run("""\
        <!-- block: on do1, until stopped -->
        ```sh
        sh -c 'trap "echo stopped; exit 0" INT; touch ready; while :; do sleep 0.01; done'
        ```
        ```text
        stopped
        ```
        ```sh
        until [ -e ../do1/ready ]; do sleep 0.01; done
        ```
        <!-- block: on do1 -->
        ```sh
        echo next
        ```
        """)


def test_a_block_that_ends_by_itself_is_not_stopped(run: Run) -> None:
    with pytest.raises(DocumentError, match="it ended before it was stopped"):
        run("<!-- block: until stopped -->\n```sh\ntrue\n```\n```sh\ntrue\n```\n")


def test_a_block_that_ignores_ctrl_c_fails_the_page(run: Run) -> None:
    with pytest.raises(DocumentError, match="not ended after 1 s"):
        run(
            """\
            <!-- block: until stopped -->
            ```sh
            trap '' INT; touch ready; sleep 1000
            ```
            <!-- block: on do1 -->
            ```sh
            until [ -e ../ds/ready ]; do sleep 0.01; done
            ```
            """,
            seconds=1.0,
        )


def test_a_failing_command_with_an_ampersand_fails_the_page(run: Run) -> None:
    run("```sh\nsleep 0.1 & true &\n```\n")
    with pytest.raises(DocumentError, match="at the end of the page") as error:
        run("```sh\nsh -c 'exit 4' &\nsleep 0.1 &\n```\n```sh\ntrue\n```\n")
    assert "a command with & failed with exit code 4" in str(error.value)


def test_a_wait_finds_a_command_that_failed(run: Run) -> None:
    run("```sh\nsleep 0.1 &\ntrue &\nwait\n```\n```sh\nsh -c 'exit 4' & wait $! || test $? = 4\n```\n")
    with pytest.raises(DocumentError, match="exit code 4"):
        run("```sh\nsh -c 'exit 4' &\ntrue &\nwait\n```\n")


def test_a_command_with_an_ampersand_must_end(run: Run) -> None:
    with pytest.raises(DocumentError, match="a command with & has not ended after 1 s"):
        run("```sh\nsleep 1000 &\n```\n", seconds=1.0)


def test_cells_of_a_notebook_share_their_names(run: Run) -> None:
    run("""\
        ```sh
        export COLOUR=red
        mkdir sub && cd sub
        ```
        ```python
        import asyncio, os
        await asyncio.sleep(0)
        name = os.environ["COLOUR"]
        ```
        ```python
        !echo from the shell in $PWD
        print("printed")
        name
        ```
        ```text
        from the shell in …/ds/sub
        printed
        'red'
        ```
        """)


@pytest.mark.parametrize("cell", ["1 / 0", "!exit 3", "!exit 3\n!true", "def"])
def test_a_failing_cell_fails_the_page(run: Run, cell: str) -> None:
    with pytest.raises(DocumentError, match=r"page\.md:1: exit code"):
        run(f"```python\n{cell}\n```\n")


def test_a_cell_until_stopped_is_interrupted(run: Run) -> None:
    run("""\
        <!-- block: on do1, until stopped -->
        ```python
        open("ready", "x")
        while True: pass
        ```
        ```sh
        until [ -e ../do1/ready ]; do sleep 0.01; done
        ```
        """)


def test_a_block_becomes_a_file(run: Run) -> None:
    run("""\
        <!-- block: file sub/a.toml -->
        ```toml
        [table]
        ```
        <!-- block: append sub/a.toml -->
        ```toml
        key = 1
        ```
        ```sh
        cat sub/a.toml
        ```
        ```text
        [table]
        key = 1
        ```
        """)


def test_a_file_that_no_block_reads_fails_the_page(run: Run) -> None:
    with pytest.raises(DocumentError, match=r"page\.md:8: no later block uses the file a\.toml"):
        run("""\
            <!-- block: file a.toml -->
            ```toml
            ```
            ```sh
            cat a.toml
            ```
            <!-- block: append a.toml -->
            ```toml
            ```
            ```sh
            ls a.toml
            ```
            """)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("```\nls\n```\n", "has no language"),
        ("Text.\n\n    ls\n", "has no language"),
        ("```toml\n```\n", "needs a rule"),
        ("<!-- block: on do1, backgroud -->\n```sh\n```\n", "'backgroud' is unknown"),
        ("<!-- block: fails -->\n```sh\n```\n", "'fails' is unknown"),
        ("<!-- block: file ../a -->\n```sh\n```\n", "leaves the folder"),
        ("<!-- block: on do1 -->\n\n```sh\n```\n", "no block is directly below"),
        ("<!-- block: on do1 -->\ntext\n", "no block is directly below"),
        ("<!-- block: on do1 -->\n", "no block is directly below"),
        ("Text <!-- block: on do1 -->\n```sh\n```\n", "a rule needs a line of its own"),
        ("<!-- block: not executed: slow -->\n```sh\n```\n", "needs a sentence"),
        ("<!-- block: fails 2 -->\n```text\n```\n", "needs a rule"),
        ("<!-- stage: moon -->\n", "a stage is"),
        ("<!-- stage: syftbox -->\n", "with participants"),
        ("<!-- stage: one machine, participant a@b.org -->\n", "unknown option"),
        ("```sh\n```\n<!-- stage: one machine -->\n", "above the first block"),
        ("<!-- block: on do9 -->\n```sh\n```\n", "no terminal 'do9'"),
        ("```text\na\n```\n", "no block above"),
        ("```sh\necho a\n```\n```text\n…\n\n…\n```\n", "every output has these lines"),
        ("<!-- block: picture -->\n```text\nfalse\n```\n", "is unknown"),
        ("```{code-block} sh\nfalse\n```\n", "needs a rule"),
        ("<details>\n```sh\nfalse\n```\n</details>\n", "code in HTML is not executed"),
        ("<pre><code>false\n</code></pre>\n", "code in HTML is not executed"),
    ],
)
def test_a_page_with_a_wrong_rule_is_refused(run: Run, text: str, error: str) -> None:
    with pytest.raises(DocumentError, match=error):
        run(text)


def test_directives_are_no_blocks_of_the_page(run: Run) -> None:
    run("```{toctree}\na\n```\n<!-- A comment. -->\n")


@pytest.mark.parametrize("fails", [False, True])
def test_a_page_leaves_no_process_and_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    monkeypatch.setattr(execution.tempfile, "tempdir", str(tmp_path))
    text = f"""\
        <!-- stage: one machine, fresh environment -->

        ```sh
        setsid sleep 1000 &
        disown
        test -e examples/diabetes/pyproject.toml
        ! python -c 'import syft_flwr'
        {"false" if fails else "true"}
        ```
        """
    source = page(tmp_path, text)
    with pytest.raises(DocumentError, match="`false` failed" if fails else "processes still ran .*sleep 1000"):
        execute(read_page(source))
    assert list(tmp_path.iterdir()) == [source]
