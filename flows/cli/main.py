"""`active-zero ...`: what can be typed, and what is said when it goes wrong.

Only signatures and help are here, and nothing heavy is imported until a command runs: help answers at once.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli import runtime as cli_work
from flows.cli.console import complain, note, say, say_json, say_table
from tasks.settings.errors import UserError

USER, FAILURE, INTERRUPTED = 2, 1, 130
CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound")
"""What botocore raises where keys are missing."""
PER = " /10000"
"""Ends the name of a counter that is a share: counters are whole numbers."""

app = typer.Typer(
    name="active-zero",
    help="Self-play rounds for vision-language models: search, ask, filter, learn, measure.",
    epilog="The store is where ACTIVE_ZERO_STORE says (any fsspec URL), else artifacts/ in the working folder.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
corpus = typer.Typer(help="Build a searchable corpus, and ask it.", no_args_is_help=True)
app.add_typer(corpus, name="corpus")


def _examples(*lines: str) -> str:
    return "\n\n".join(["Examples:", *lines])


def _be_verbose(value: bool) -> None:
    cli_work.verbose = value


def _tell_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        say(version("active-zero"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    pass


Config = Annotated[str, typer.Option("--config", metavar="F", help="A file, or a name in configs/.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="a.b=c", help="Override a setting; may be repeated.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output, and nothing else there.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", callback=_be_verbose, help="Show all logs, and errors with their traceback.")
]
Out = Annotated[Path | None, typer.Option("--out", metavar="F", help="Write there instead of standard output.")]
CorpusUri = Annotated[str, typer.Option("--corpus", metavar="URI", help="Where the corpus was built.")]

ForceFrom = Annotated[
    str | None, typer.Option("--force-from", metavar="STAGE", help="Play this stage and those after it again.")
]

DEFAULT = "tiny.yaml"


@app.command(
    epilog=_examples(
        "active-zero iterate",
        "active-zero iterate --run mine --rounds 3 --set filter.low=0.5",
        "active-zero iterate --config qwen2.5-vl-7b --set corpus.at=s3://bucket/corpora/web",
    )
)
def iterate(
    config: Config = DEFAULT,
    run: Annotated[str, typer.Option(metavar="NAME", help="Which run to play on, or to begin.")] = "default",
    rounds: Annotated[int, typer.Option(min=1, metavar="N", help="How many rounds at most.")] = 1,
    overrides: Set = None,
    force_from: ForceFrom = None,
    wait: Annotated[bool, typer.Option("--wait", help="Where another process plays the round, wait for it.")] = False,
    verbose: Verbose = False,
) -> None:
    """Play rounds on from where the run stands; what is complete already is reused."""
    from flows.cli import iterate as cli_iterate

    cli_iterate.iterate(config, run, rounds, overrides or [], force_from, wait)


@app.command(
    epilog=_examples(
        "active-zero plan",
        "active-zero plan --run mine --set filter.low=0.5",
        "active-zero plan --force-from 5-synthesize --json",
    )
)
def plan(
    config: Config = DEFAULT,
    run: Annotated[str, typer.Option(metavar="NAME", help="The run whose next round is meant.")] = "default",
    overrides: Set = None,
    force_from: ForceFrom = None,
    json: Json = False,
) -> None:
    """What `iterate` would do: stage by stage, played or reused, and which setting or input is why."""
    from flows.cli import plan as cli_plan

    number, records = cli_plan.plan(config, run, overrides or [], force_from)
    if json:
        say_json({"run": run, "round": number, "stages": records})
    else:
        say(f"Run {run}, round {number}")
        say_table(records, cli_plan.PLAN, "No stages.")


@app.command(
    epilog=_examples(
        "active-zero gc --dry-run",
        "active-zero gc --older-than 1",
    )
)
def gc(
    older_than: Annotated[float, typer.Option(min=0, metavar="HOURS", help="Leave what is younger.")] = 24,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    json: Json = False,
) -> None:
    """Remove what counts no more: attempts that were killed, replaced or withdrawn. Nothing where somebody plays."""
    from flows.cli import plan as cli_plan
    from flows.cli.runs import existing_store

    records, busy = cli_plan.gc(existing_store(), older_than, dry_run)
    if json:
        say_json({"removed" if not dry_run else "would be removed": records, "left alone": list(busy)})
        return
    say_table(records, cli_plan.GARBAGE, "No garbage.")
    for line in cli_plan.total(records, busy, dry_run):
        say(line)


@app.command(
    epilog=_examples(
        "active-zero runs",
        "active-zero runs --json",
    )
)
def runs(json: Json = False) -> None:
    """The runs in the store: rounds, which were promoted, and what comes next."""
    from flows.cli import runs as cli_runs

    records = cli_runs.runs(cli_runs.existing_store())
    _give(records, ["run", "rounds", "promoted", "team", "accuracy", "state"], "No runs yet.", json)


@app.command(
    epilog=_examples(
        "active-zero show default",
        "active-zero show default --round 2 --stage 6-filter --json",
    )
)
def show(
    run: Annotated[str, typer.Argument(metavar="RUN")],
    number: Annotated[int | None, typer.Option("--round", metavar="N", help="Only this round.")] = None,
    stage: Annotated[str | None, typer.Option(metavar="S", help="Only this stage, such as 6-filter.")] = None,
    json: Json = False,
) -> None:
    """A run's stages: state, fingerprint, rows, seconds. Round 0 holds the base model's score."""
    from flows.cli import runs as cli_runs

    records = cli_runs.stages(cli_runs.existing_store(), run, number, stage)
    if json:
        say_json(records)
        return
    short = [{**record, "fingerprint": (record["fingerprint"] or "-")[:12]} for record in records]
    say_table(short, ["round", "stage", "state", "fingerprint", "rows", "seconds", "counters"], "No stages yet.")


@app.command(
    epilog=_examples(
        "active-zero curriculum default --round 1",
        "active-zero curriculum default --round 1 --all --format html --out curriculum.html",
    )
)
def curriculum(
    run: Annotated[str, typer.Argument(metavar="RUN")],
    number: Annotated[int | None, typer.Option("--round", metavar="N", help="The last one that has it.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Rejected questions too, with their reasons.")] = False,
    form: Annotated[Literal["table", "jsonl", "parquet", "html"], typer.Option("--format")] = "table",
    out: Out = None,
    config: Annotated[str, typer.Option(metavar="F", help="Says which corpus has the pictures (html only).")] = DEFAULT,
    overrides: Set = None,
) -> None:
    """The questions that trained the Solver in a round: text, label, agreement."""
    from flows.cli import curriculum as cli_curriculum

    cli_curriculum.curriculum(run, number, everything, form, out, config, overrides or [])


@corpus.command(
    "build",
    epilog=_examples(
        "active-zero corpus build laion/ --out artifacts/corpora/laion",
        "active-zero corpus build photos/ --out s3://bucket/corpora/photos --config qwen2.5-vl-7b",
        "active-zero corpus build s3://bucket/laion --out s3://bucket/corpora/laion --set runner=ray",
    ),
)
def corpus_build(
    shards: Annotated[str, typer.Argument(metavar="SHARDS_OR_FOLDER", help="Tar shards, or a folder of pictures.")],
    out: Annotated[str, typer.Option("--out", metavar="URI", help="Where to build it: any fsspec URL.")],
    config: Config = DEFAULT,
    overrides: Set = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Embed and index shards or a folder of pictures; shards that were done before are reused."""
    from flows.cli import corpus as cli_corpus

    cli_corpus.build(shards, out, config, overrides or [])
    _tell_corpus(out, json)


@corpus.command(
    "add",
    epilog=_examples(
        "active-zero corpus add laion/00021.tar --corpus artifacts/corpora/laion",
        "active-zero corpus add s3://bucket/coco --corpus s3://bucket/corpora/web --prefix coco- --set runner=ray",
    ),
)
def corpus_add(
    shards: Annotated[str, typer.Argument(metavar="SHARDS_OR_FOLDER", help="Tar shards, or a folder of pictures.")],
    uri: Annotated[str, typer.Option("--corpus", "--out", metavar="URI", help="Where the corpus was built.")],
    prefix: Annotated[str, typer.Option(metavar="P", help="Put before the new shards' names and keys.")] = "",
    overrides: Set = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Further shards for a corpus, with the settings that it was built with; what it has stays as it is."""
    from flows.cli import corpus as cli_corpus

    if not cli_corpus.add(shards, uri, prefix, overrides or []):
        note(f"nothing new: the corpus has all shards of {shards} already")
    _tell_corpus(uri, json)


@corpus.command(
    "info",
    epilog=_examples(
        "active-zero corpus info artifacts/corpora/micro-world",
    ),
)
def corpus_info(uri: Annotated[str, typer.Argument(metavar="URI")], json: Json = False) -> None:
    """What a corpus holds: rows by reason, and how well its index recalls."""
    _tell_corpus(uri, json)


@corpus.command(
    "query",
    epilog=_examples(
        'active-zero corpus query "a bar chart" --corpus artifacts/corpora/micro-world -k 3',
        'active-zero corpus query "a bar chart" --corpus artifacts/corpora/micro-world -k 30 --html sheet.html',
        'active-zero corpus query "sales by year" --corpus s3://bucket/laion --fusion --word chart --min-side 300',
    ),
)
def corpus_query(
    text: Annotated[str, typer.Argument(metavar="TEXT")],
    uri: CorpusUri,
    k: Annotated[int, typer.Option("-k", min=1, help="How many pictures.")] = 5,
    html: Annotated[Path | None, typer.Option("--html", metavar="F", help="Write a page of them there.")] = None,
    words: Annotated[list[str] | None, typer.Option("--word", metavar="W", help="In captions; any of several.")] = None,
    min_side: Annotated[int, typer.Option(min=0, metavar="PIXELS", help="Least shorter side.")] = 0,
    max_unsafe: Annotated[float, typer.Option(min=0, max=1, help="Most `punsafe`; unknown passes.")] = 1,
    max_watermark: Annotated[float, typer.Option(min=0, max=1, help="Most `pwatermark`; unknown passes.")] = 1,
    fusion: Annotated[bool, typer.Option("--fusion", help="Rank by the captions' words, too (BM25).")] = False,
    json: Json = False,
) -> None:
    """The pictures that fit a text best."""
    from flows.cli import corpus as cli_corpus
    from flows.cli.curriculum import write
    from tasks.retrieval.filters import Filter

    only = Filter(words=tuple(words or ()), min_side=min_side, max_unsafe=max_unsafe, max_watermark=max_watermark)
    if html and json:
        raise UserError("--html writes a page and --json prints records: give one of the two.")
    if html:
        write(html, cli_corpus.sheet(uri, text, k, only, fusion).encode(), "--html")
        return
    _give(cli_corpus.query(uri, text, k, only, fusion), ["rank", "score", "key"], "Nothing found.", json)


@corpus.command(
    "image",
    epilog=_examples(
        "active-zero corpus image 00000/000000012 --corpus artifacts/corpora/micro-world --out it.png",
    ),
)
def corpus_image(
    key: Annotated[str, typer.Argument(metavar="KEY")],
    uri: CorpusUri,
    out: Annotated[Path, typer.Option("--out", metavar="F", help="The file to write.")],
) -> None:
    """A picture's original bytes."""
    from flows.cli import corpus as cli_corpus
    from flows.cli.curriculum import write

    write(out, cli_corpus.image(uri, key))


@corpus.command(
    "audit",
    epilog=_examples(
        "active-zero corpus audit --corpus artifacts/corpora/micro-world --benchmark world:heldout",
        "active-zero corpus audit --corpus s3://bucket/corpora/web --benchmark MathVista_MINI.tsv --run mine --json",
    ),
)
def corpus_audit(
    uri: CorpusUri,
    benchmark: Annotated[str, typer.Option(metavar="NAME|FILE.tsv", help="A benchmark, or a VLMEvalKit file.")],
    clip: Annotated[
        float | None, typer.Option(min=0, max=1, help="Also pictures whose CLIP vectors have at least this cosine.")
    ] = None,
    run: Annotated[str | None, typer.Option(metavar="NAME", help="Split this run's scores by what was found.")] = None,
    number: Annotated[int | None, typer.Option("--round", metavar="N", help="Of the run; the last one.")] = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Pictures of the corpus that are copies of a benchmark's, and the scores with and without the items they touch."""
    from flows.cli import corpus_audit as cli_audit

    found = cli_audit.audit(uri, benchmark, clip, run, number)
    if json:
        say_json(found.model_dump())
    else:
        say_table([touch.model_dump() for touch in found.touches], cli_audit.COLUMNS, "No copies.")
        for line in cli_audit.summary(found):
            say(line)


@app.command(
    epilog=_examples(
        "active-zero evaluate infra/models/vlm --benchmark world:heldout",
        "active-zero evaluate run:default@2 --benchmark MathVista_MINI.tsv --json",
    )
)
def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder, hub name, run:NAME or run:NAME@ROUND.")],
    benchmark: Annotated[str, typer.Option(metavar="NAME|FILE.tsv", help="world:heldout, mathvista, ... or a file.")],
    config: Config = DEFAULT,
    overrides: Set = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Score a model: greedy, the mean of k samples at temperature 1, and their majority, with 95 % intervals."""
    from flows.cli import evaluate as cli_evaluate

    card = cli_evaluate.evaluate(model, benchmark, config, overrides or [])
    if json:
        say_json(card.model_dump())
    else:
        say_table(*cli_evaluate.table(card))
        for line in cli_evaluate.notes(card):
            say(line)


@app.command(
    context_settings={"ignore_unknown_options": True},
    epilog=_examples(
        "active-zero grade 30° 30",
        "active-zero grade 1/2 0.5 --json",
        "active-zero grade '\\boxed{7 apples}' 7",
    ),
)
def grade(
    prediction: Annotated[str, typer.Argument(metavar="PREDICTION")],
    target: Annotated[str, typer.Argument(metavar="TARGET")],
    json: Json = False,
) -> None:
    """Whether an answer, or a reply that ends in \\boxed{...}, is the target: `right` or `wrong`, and why."""
    from flows.cli import grade as cli_grade

    verdict = cli_grade.grade(prediction, target)
    if json:
        say_json(verdict)
    else:
        say(f"{'right' if verdict['right'] else 'wrong'}: {verdict['why']}")


@app.command(
    epilog=_examples(
        "active-zero doctor",
        "active-zero doctor --config qwen2.5-vl-7b --json",
    )
)
def doctor(config: Config = DEFAULT, overrides: Set = None, json: Json = False) -> None:
    """Is this machine ready? Packages, memory, store, model, corpus, benchmarks: pass, warn or fail, and what to do."""
    from dataclasses import asdict

    from flows.cli.doctor import examine
    from tasks.config import load_config
    from tasks.store import Store

    checks = examine(load_config(config, overrides or []), Store.from_environment())
    if json:
        say_json([asdict(check) for check in checks])
    else:
        for check in checks:
            say(f"{check.state}  {check.name}: {check.told}")
    if any(check.state == "fail" for check in checks):
        raise typer.Exit(FAILURE)


@app.command(
    epilog=_examples(
        "active-zero deploy",
        "PREFECT_API_URL=http://prefect:4200/api active-zero deploy",
    )
)
def deploy() -> None:
    """Register work pool, GPU limit, deployments and automation at the Prefect server (PREFECT_API_URL)."""
    from flows.server import deploy as cli_deploy

    say(cli_deploy.deploy())


@app.command(
    epilog=_examples(
        "active-zero ui",
        "active-zero ui --port 4300",
    )
)
def ui(
    port: Annotated[int, typer.Option(min=1024, max=65535, metavar="N", help="Of loopback.")] = 4200,
) -> None:
    """The Prefect UI on this machine: server, worker and deployments, until Ctrl-C."""
    from flows.server import ui as cli_ui

    cli_ui.serve(port, cli_work.log_folder() / "ui.log", say)


def main() -> None:
    """The console script."""
    sys.exit(command(sys.argv[1:]))


def command(arguments: Sequence[str]) -> int:
    """Run one command; the exit code. 2: the user's mistake. 1: a failure. Either is one line on standard error."""
    cli_work.prepare()
    try:
        _refuse_secrets(arguments)
        code = int(app(args=list(arguments), standalone_mode=False) or 0)
    except UserError as error:
        complain(str(error))
        return USER
    except typer.Exit as end:
        return end.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception as error:  # the last resort: whatever it is, it is told in one line
        return _failed(error, arguments)
    if code == INTERRUPTED:  # which is also how Typer ends at Ctrl-C
        complain(f"stopped; what is complete is kept, go on with: {resuming(arguments)}")
    return code


def _refuse_secrets(arguments: Sequence[str]) -> None:
    """UserError where an address holds one: arguments are repeated in logs, and by the command that goes on."""
    if addresses := [word for word in (os.environ.get("ACTIVE_ZERO_STORE", ""), *arguments) if "://" in word]:
        from tasks.settings.addresses import without_secrets

        for address in addresses:
            without_secrets(address)


def resuming(arguments: Sequence[str]) -> str:
    """The command that goes on where this one ended. What was forced and has been withdrawn is not forced again."""
    kept, force = list(arguments), sys.modules.get("flows.force")  # which is heavy, and is there where it was needed
    if force is None or not force.withdrawn_for:
        return shlex.join(["active-zero", *kept])
    for position, word in enumerate(arguments):
        if word == "--force-from":
            kept[position : position + 2] = ["", ""]
    return shlex.join(["active-zero", *(word for word in kept if word and not word.startswith("--force-from="))])


def _failed(error: Exception, arguments: Sequence[str]) -> int:
    if isinstance(error, typer.exceptions.TyperException):
        complain(error.format_message())
        return USER
    if lacks_credentials(error):
        server = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "Amazon's S3"
        complain(f"{error}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile (AWS_PROFILE), for {server}.")
        return USER
    if cli_work.verbose:
        raise error
    seen = f"see {cli_work.log_file}" if cli_work.log_file else "repeat with --verbose if the command has it"
    complain(f"failed: {type(error).__name__}: {error} ({seen}); go on with: {resuming(arguments)}")
    return FAILURE


def lacks_credentials(error: BaseException | None) -> bool:
    """Whether a request to S3 failed for want of keys: botocore is not imported here to ask for its own classes."""
    if error is None:
        return False
    return type(error).__name__ in CREDENTIALS or lacks_credentials(error.__cause__)


def _give(records: Sequence[dict[str, object]], columns: Sequence[str], nothing: str, json: bool) -> None:
    """Records as JSON or as a table."""
    if json:
        say_json(records)
    else:
        say_table(records, columns, nothing)


def _tell_corpus(uri: str, json: bool) -> None:
    from flows.cli import corpus as cli_corpus

    info = cli_corpus.info(uri)
    if json:
        say_json(info)
    else:
        for name, value in info.items():
            say(f"{name.replace('_', ' ')}: {_plainly(value)}")


def _plainly(value: object) -> str:
    """A setting or figure as a person writes it."""
    if isinstance(value, dict):
        return ", ".join(_share(name, item) for name, item in value.items()) or "none"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _share(name: str, value: object) -> str:
    """A counter; one of `recall /10000` as a share of 1."""
    if isinstance(value, int) and name.endswith(PER):
        return f"{name.removesuffix(PER)} {value / 10_000:.4g}"
    return f"{name} {value}"
