"""`active-zero`: all commands, their errors in one line, and exit codes.

Nothing slow is imported here or at the top of a command's file, so that help answers at once.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from flows.cli import (
    config,
    corpus,
    curriculum,
    deploy,
    doctor,
    evaluate,
    export,
    gc,
    grade,
    iterate,
    page,
    plan,
    runs,
    settle,
    show,
    ui,
)  # fmt: skip
from flows.cli.console import print_error, print_line
from flows.cli.runtime import prepare
from flows.cli.session import Session
from tasks.settings.errors import UserError

USER, FAILURE, INTERRUPTED = 2, 1, 130
"""Exit codes: the user's mistake, a failure, Ctrl-C."""
CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound")
"""What botocore raises where keys are missing."""

app = typer.Typer(
    name="active-zero",
    help="Self-play rounds for vision-language models: search, ask, filter, learn, measure.",
    epilog="The store is at ACTIVE_ZERO_STORE (any fsspec URL), by default artifacts/ in the working folder.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (
    iterate,
    plan,
    gc,
    runs,
    show,
    page,
    curriculum,
    export,
    evaluate,
    grade,
    doctor,
    config,
    deploy,
    settle,
    ui,
):
    app.add_typer(module.app)
app.add_typer(corpus.app, name="corpus")


def _print_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        print_line(version("active-zero"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """The console script."""
    code = command(sys.argv[1:])
    runs = sys.modules.get("flows.cli.local_runs")  # slow to import, and imported where there was a flow run
    if runs is not None and runs.server_is_gone():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # Prefect would wait without end for its queues to reach the server
    sys.exit(code)


def command(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code. An error is one line on standard error."""
    prepare()
    session = Session()
    try:
        _refuse_secrets(arguments)
        code = int(app(args=list(arguments), standalone_mode=False, obj=session) or 0)
    except UserError as error:
        print_error(str(error))
        return USER
    except typer.Exit as end:
        return end.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception as error:  # the last resort: any error becomes one line
        return _failed(error, arguments, session)
    if code == INTERRUPTED:  # which is also what Typer returns at Ctrl-C
        print_error(f"stopped; complete stages are kept; resume with: {resuming(arguments)}")
    return code


def _refuse_secrets(arguments: Sequence[str]) -> None:
    """UserError for an address with a secret: logs and the line `resume with` repeat the arguments."""
    if addresses := [word for word in (os.environ.get("ACTIVE_ZERO_STORE", ""), *arguments) if "://" in word]:
        from tasks.settings.addresses import without_secrets

        for address in addresses:
            without_secrets(address)


def resuming(arguments: Sequence[str]) -> str:
    """The command that resumes the work. Without `--force-from` if its stages have been withdrawn already."""
    kept, force = list(arguments), sys.modules.get("flows.force")  # slow to import, and imported where it was needed
    if force is None or not force.withdrawn_for:
        return shlex.join(["active-zero", *kept])
    for position, word in enumerate(arguments):
        if word == "--force-from":
            kept[position : position + 2] = ["", ""]
    return shlex.join(["active-zero", *(word for word in kept if word and not word.startswith("--force-from="))])


def _failed(error: Exception, arguments: Sequence[str], session: Session) -> int:
    """Print the error and return the exit code."""
    if isinstance(error, typer.exceptions.TyperException):
        print_error(error.format_message())
        return USER
    if lacks_credentials(error):
        server = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "Amazon's S3"
        advice = f"set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile (AWS_PROFILE), for {server}."
        print_error(f"{error}: {advice}")
        return USER
    if session.verbose:
        raise error
    details = f"see {session.log_file}" if session.log_file else "--verbose, where the command has it, shows more"
    print_error(f"failed: {type(error).__name__}: {error} ({details}); resume with: {resuming(arguments)}")
    return FAILURE


def lacks_credentials(error: BaseException | None) -> bool:
    """Whether a request to S3 failed for lack of keys. By the classes' names, so that botocore is not imported."""
    if error is None:
        return False
    return type(error).__name__ in CREDENTIALS or lacks_credentials(error.__cause__)
