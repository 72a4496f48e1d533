"""The command line: what each command takes. What a command does is in the file named after it."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import click

from triptych.errors import TriptychError
from triptych.export import TARGETS

json_option = click.option("--json", "as_json", is_flag=True, help="Write one JSON value to stdout, for machines.")
set_option = click.option(
    "--set", "changes", multiple=True, metavar="A.B=VALUE", help="Change a field of the recipe; may be repeated."
)
limit_option = click.option("--limit", type=click.IntRange(min=1), help="Take only the first N prompts.")
budget_option = click.option("--budget", type=click.FloatRange(min=0), metavar="USD", help="Most to spend on this run.")

as_option = click.option(
    "--as", "as_", metavar="FORMAT", help="The format of a file; guessed from its columns if not given."
)
file_format_option = click.option(
    "--file-format",
    type=click.Choice(["jsonl", "json", "parquet", "csv", "datasets"]),
    help="What sort of file it is; by its ending if not given.",
)
scale_option = click.option(
    "--scale", type=float, nargs=2, metavar="LOW HIGH", help="Of given scores, where the format does not fix it."
)
verdicts_option = click.option(
    "--verdicts", type=click.Path(), metavar="FILE", help="A second file, of formats that keep verdicts apart."
)
gold_option = click.option(
    "--gold",
    multiple=True,
    metavar="EVALUATOR",
    help="Whose verdicts count as true; may be repeated. All that judge without a model if not given.",
)
fail_on_option = click.option(
    "--fail-on",
    type=click.Choice(["error", "warn", "never"]),
    default="never",
    show_default=True,
    help="From which severity on to end with an exit code: 9 for errors, 8 for warnings.",
)

to_option = click.option(
    "--to", "target", required=True, type=click.Choice(list(TARGETS)), help="The trainer or library to write for."
)
kind_option = click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(["pair", "unpaired", "sft", "group", "ranking", "stepwise"]),
    help="Only examples of this kind; may be repeated.",
)
split_option = click.option(
    "--split",
    type=click.FloatRange(min=0, max=1, min_open=True, max_open=True),
    metavar="SHARE",
    help="Hold this share of the prompt families out, in files named test.",
)
test_set_option = click.option(
    "--test-set",
    "test_sets",
    multiple=True,
    metavar="NAME=FILE",
    help="Texts of tests that must not be among the prompts, a line each or JSONL; may be repeated.",
)
push_option = click.option(
    "--push", metavar="REPO", help="Then upload the files to this data set of the Hugging Face Hub, private if new."
)


_NOBODY_READS = 128 + 13
"""The exit code of what a broken pipe ends: that of SIGPIPE."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="triptych", message="triptych %(version)s")
def cli() -> None:
    """Build preference data for alignment tuning: synthesis, evaluation, instantiation.

    \b
    triptych init recipe.yaml            write a commented recipe to start from
    triptych plan recipe.yaml            check it; see calls, tokens, money and time
    triptych run recipe.yaml --out DIR   run it; run it again to resume
    triptych import FILE --out DIR       take in preference data that is there already
    triptych audit DATA                  say what is wrong with data, how sure that is, and what to change
    triptych show DIR [ID]               read what came out, row by row
    triptych export DIR --to trl         write training files
    triptych convert IN --to trl OUT     turn data that is there into training files
    """


@cli.command()
@click.argument("file", default="recipe.yaml", type=click.Path(dir_okay=False))
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
def init(file: str, force: bool) -> None:
    """Write a commented recipe to FILE, ready to run on the embedded model."""
    from triptych.app.init import init_recipe

    init_recipe(file, force=force)


@cli.command()
@click.argument("recipe")
@set_option
@limit_option
@budget_option
@fail_on_option
@json_option
def plan(
    recipe: str, changes: tuple[str, ...], limit: int | None, budget: float | None, fail_on: str, as_json: bool
) -> None:
    """Check RECIPE (a file, or a shipped recipe's name) and say what it will cost, before anything is spent."""
    from triptych.app.plan import plan_command

    plan_command(recipe, _with_budget(changes, budget), limit, fail_on=fail_on, as_json=as_json)


@cli.command()
@click.argument("recipe")
@click.option("--out", required=True, type=click.Path(file_okay=False), metavar="DIR", help="The run's folder.")
@set_option
@limit_option
@budget_option
@click.option("--calls", type=click.Path(dir_okay=False), help="A call log to share with other runs.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
@json_option
def run(
    recipe: str,
    out: str,
    changes: tuple[str, ...],
    limit: int | None,
    budget: float | None,
    calls: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run RECIPE (a file, or a shipped recipe's name) into the folder DIR.

    The same command again resumes a run that was cut off, and replays a finished one at no cost.
    """
    from triptych.app.run import run_command

    run_command(recipe, out, _with_budget(changes, budget), limit, calls, quiet=quiet, as_json=as_json)


@cli.command("import")
@click.argument("file")
@as_option
@click.option("--out", required=True, type=click.Path(file_okay=False), metavar="DIR", help="The new run folder.")
@click.option("--split", help="The split, where FILE is a folder that holds several.")
@file_format_option
@scale_option
@verdicts_option
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
@json_option
def import_(
    file: str,
    as_: str | None,
    out: str,
    split: str | None,
    file_format: str | None,
    scale: tuple[float, float] | None,
    verdicts: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Import preference data from FILE (or a folder, or - for standard input) into the run folder DIR.

    \b
    FORMAT is one of alpaca-eval, arena, axolotl, distilabel, helpsteer2, hh-rlhf,
    judgebench, llama-factory, llmbar, nectar, nemo-rl, openai, openrlhf, prm800k,
    trl, ultrafeedback, or that of an installed package.
    """
    from triptych.app.imports import import_command

    import_command(file, as_, out, split, file_format, scale or None, verdicts, quiet=quiet, as_json=as_json)


@cli.command()
@click.argument("folder", metavar="DIR")
@click.option("--out", required=True, type=click.Path(file_okay=False), metavar="NEW", help="The new run folder.")
@click.option("--recipe", help="A recipe, of which instantiation, weights and seed count; that of DIR if not given.")
@set_option
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
@json_option
def instantiate(
    folder: str, out: str, recipe: str | None, changes: tuple[str, ...], quiet: bool, as_json: bool
) -> None:
    """Make other examples of the verdicts of the run in DIR, into the folder NEW. Makes no call."""
    from triptych.app.instantiate import instantiate_command

    instantiate_command(folder, out, recipe, changes, quiet=quiet, as_json=as_json)


@cli.command()
@click.argument("data")
@as_option
@file_format_option
@scale_option
@verdicts_option
@gold_option
@click.option("--html", type=click.Path(dir_okay=False), metavar="FILE", help="Write the report as one HTML file.")
@fail_on_option
@click.option(
    "--baseline",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Findings that are known and accepted; told again where they have grown worse.",
)
@click.option(
    "--write-baseline", type=click.Path(dir_okay=False), metavar="FILE", help="Accept what is found: write it there."
)
@click.option(
    "--policy", metavar="MODEL", help="Ask this model of the recipe, or `embedded`, how likely it finds them."
)
@click.option("--reference", metavar="MODEL", help="The same of the loss's reference.")
@click.option(
    "--mended",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write the run's recipe with the changes that the findings ask for.",
)
@click.option(
    "--recipe",
    metavar="RECIPE",
    help="The run's recipe as you wrote it: changes are made in its text, which keeps comments; the run's own copy if not given.",
)
@click.option("--embeddings", metavar="MODEL", help="Ask this model for embeddings of the responses.")
@click.option("--calls", type=click.Path(dir_okay=False), metavar="FILE", help="The call log; by DATA if not given.")
@budget_option
@test_set_option
@click.option("--quiet", "-q", is_flag=True, help="No progress, and nothing but the verdict.")
@json_option
def audit(
    data: str,
    as_: str | None,
    file_format: str | None,
    scale: tuple[float, float] | None,
    verdicts: str | None,
    gold: tuple[str, ...],
    html: str | None,
    mended: str | None,
    recipe: str | None,
    policy: str | None,
    reference: str | None,
    embeddings: str | None,
    calls: str | None,
    budget: float | None,
    test_sets: tuple[str, ...],
    fail_on: str,
    baseline: str | None,
    write_baseline: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Say what is wrong with DATA, how sure that is, and what to change.

    Calls no model but those that are named with --policy, --reference and --embeddings. DATA is a run's folder, or preference data in any format of triptych import.
    """
    from triptych.app.audit import audit_command
    from triptych.engines.asking import Asked
    from triptych.models.budget import Budget

    asked = Asked(policy=policy, reference=reference, embeddings=embeddings, calls=calls, budget=Budget(usd=budget))
    audit_command(
        data,
        as_,
        file_format,
        scale or None,
        verdicts,
        gold,
        asked,
        test_sets,
        html=html,
        recipe=recipe,
        mended_to=mended,
        fail_on=fail_on,
        baseline=baseline,
        write_baseline_to=write_baseline,
        quiet=quiet,
        as_json=as_json,
    )


@cli.command()
@click.argument("data")
@click.option("--out", required=True, type=click.Path(file_okay=False), metavar="NEW", help="The new run folder.")
@as_option
@file_format_option
@scale_option
@verdicts_option
@click.option(
    "--findings",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Findings, as triptych audit --json wrote them; DATA is audited if not given.",
)
@click.option("--only", multiple=True, metavar="NAME", help="Only this repair, found or not; may be repeated.")
@gold_option
@test_set_option
@click.option(
    "--html", type=click.Path(dir_okay=False), metavar="FILE", help="Write before and after as one HTML file."
)
@click.option("--quiet", "-q", is_flag=True, help="Say nothing.")
@json_option
def repair(
    data: str,
    out: str,
    as_: str | None,
    file_format: str | None,
    scale: tuple[float, float] | None,
    verdicts: str | None,
    findings: str | None,
    only: tuple[str, ...],
    gold: tuple[str, ...],
    test_sets: tuple[str, ...],
    html: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Repair the training examples of DATA, a run's folder or a file, into the folder NEW. Makes no call.

    Drops and weighs rows anew where that mitigates what the audit finds, and shows the audit before and after.

    \b
    NAME is one of drop_defective, drop_test_prompts, drop_copied_prompts,
    drop_noisy_prompts, drop_duplicates, drop_contradictions, break_cycles,
    drop_against_scores, drop_near_identical, swap_average, drop_small_margins,
    drop_within_noise, drop_low_chosen, cap_per_prompt, length_match,
    drop_zero_groups, balance_labels, weight_by_margin, resplit.
    """
    from triptych.app.repair import repair_command

    options = {"file_format": file_format, "scale": scale or None, "verdicts": verdicts}
    repair_command(data, as_, out, findings, only, gold, test_sets, html=html, quiet=quiet, as_json=as_json, **options)


@cli.command()
@click.argument("folder", metavar="DIR")
@click.argument("row_id", metavar="[ID]", required=False)
@json_option
def show(folder: str, row_id: str | None, as_json: bool) -> None:
    """Show the run in DIR: its summary, or the row ID with all that it rests on and all that rests on it.

    ID is the id of a prompt, response, judgement, example or call (its first characters will do), or a prompt's
    number from 1.
    """
    from triptych.app.show import show_command

    show_command(folder, row_id, as_json=as_json)


@cli.command()
@click.argument("data")
@as_option
@file_format_option
@scale_option
@verdicts_option
@gold_option
@click.option("--judge", metavar="NAME", help="Show all figures of this judge.")
@click.option(
    "--baseline",
    metavar="MODEL",
    help="Show win rates against this model; guessed where all comparisons are with one.",
)
@click.option("--html", type=click.Path(dir_okay=False), metavar="FILE", help="Write the report as one HTML file.")
@json_option
def judges(
    data: str,
    as_: str | None,
    file_format: str | None,
    scale: tuple[float, float] | None,
    verdicts: str | None,
    gold: tuple[str, ...],
    judge: str | None,
    baseline: str | None,
    html: str | None,
    as_json: bool,
) -> None:
    """Measure the judges of DATA: gold, order, length, own family, scale, calibration, and each other.

    DATA is a run's folder, or preference data in any format of triptych import. If no --gold is given, people and
    verifiers count as true.
    """
    from triptych.app.judges import judges_command

    judges_command(
        data,
        as_,
        file_format,
        scale or None,
        verdicts,
        gold,
        judge=judge,
        baseline=baseline,
        html=html,
        as_json=as_json,
    )


@cli.command()
@click.argument("folder", metavar="DIR")
@to_option
@click.option("--out", type=click.Path(file_okay=False), help="Where to write; DIR/export/TARGET if not given.")
@kind_option
@split_option
@push_option
@json_option
def export(
    folder: str,
    target: str,
    out: str | None,
    kinds: tuple[str, ...],
    split: float | None,
    push: str | None,
    as_json: bool,
) -> None:
    """Write the run in DIR as training files, with a data set card.

    Of a run with examples of several kinds, each kind has a folder. What the trainer's format can't hold is said.
    """
    from triptych.app.export import export_command

    export_command(folder, target, out, kinds, split, push, as_json=as_json)


@cli.command()
@click.argument("file", metavar="IN")
@to_option
@click.argument("out", type=click.Path(file_okay=False))
@as_option
@file_format_option
@scale_option
@kind_option
@split_option
@push_option
@click.option("--quiet", "-q", is_flag=True, help="Say nothing.")
@json_option
def convert(
    file: str,
    target: str,
    out: str,
    as_: str | None,
    file_format: str | None,
    scale: tuple[float, float] | None,
    kinds: tuple[str, ...],
    split: float | None,
    push: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Convert preference data IN to training files in the folder OUT: import and export in one step.

    IN and FORMAT are as of triptych import; what OUT gets is as of triptych export.
    """
    from triptych.app.convert import convert_command

    convert_command(
        file, as_, target, out, kinds, file_format, scale or None, split, push, quiet=quiet, as_json=as_json
    )


@cli.group(invoke_without_command=True)
@click.option("--source", type=click.Choice(["offline", "online", "mixed"]), help="Only methods with such responses.")
@click.option("--selection", type=click.Choice(["random", "margin", "uncertainty"]), help="Only those that choose so.")
@click.option(
    "--exploration",
    type=click.Choice(["none", "verbalized", "spanning", "diversity", "multi_signal"]),
    help="Only those that explore so.",
)
@click.option("--granularity", type=click.Choice(["outcome", "step", "atomic"]), help="Only those that judge so much.")
@click.option("--dimensions", type=click.Choice(["one", "several"]), help="Only those with so many criteria.")
@click.option("--form", type=click.Choice(["point", "pair", "group"]), help="Only those with such examples.")
@click.option(
    "--adjudicator",
    type=click.Choice(["human", "judge", "self", "reward_model", "implicit", "verifier", "given"]),
    help="Only those in which such judge, alone or with others.",
)
@json_option
def methods(as_json: bool, **axes: str | None) -> None:
    """List the shipped recipes by their place in the taxonomy, and the operators that recipes are made of."""
    if click.get_current_context().invoked_subcommand is None:
        from triptych.app.methods import methods_command

        methods_command(axes, as_json=as_json)


@methods.command("show")
@click.argument("name")
def methods_show(name: str) -> None:
    """Show what a method does, what it costs and what it needs."""
    from triptych.app.methods import show_command

    show_command(name)


@methods.command("use")
@click.argument("name")
def methods_use(name: str) -> None:
    """Print a method's recipe, to be saved and changed: methods use NAME > recipe.yaml."""
    from triptych.app.methods import use_command

    use_command(name)


@cli.command()
def schema() -> None:
    """Print the JSON Schema of recipes, for editors."""
    from triptych.app.methods import schema_command

    schema_command()


def _with_budget(changes: tuple[str, ...], budget: float | None) -> tuple[str, ...]:
    return changes if budget is None else (*changes, f"budget.usd={budget}")


def main() -> None:
    """Run the command line; errors are sentences and exit codes, never tracebacks."""
    _open_what_is_closed()
    sys.exit(_guarded(_command))


def _command() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # as it was while all this was imported
        signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.main(standalone_mode=False)


def _open_what_is_closed() -> None:
    """Put nothing in the place of standard streams that are closed: the next file opened would be taken for one."""
    for name in ("stdin", "stdout", "stderr"):  # in this order: what is opened gets the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115


def _guarded(command: Callable[[], Any]) -> int:
    try:
        command()
    except TriptychError as error:
        return _say_error(str(error), error.exit_code, error)
    except click.exceptions.Exit as done:
        return done.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            return _say_error(f"this is a defect in Triptych: {type(error).__name__}: {error}", 70, error)
        return _say_error(f"can't write all that there is to say: {error.strerror}", 3, error)
    except SystemExit:  # so click ends where nobody reads what is said, and only there
        return _NOBODY_READS
    except BaseException as error:  # a panic of Polars is no Exception
        return _say_error(f"this is a defect in Triptych: {type(error).__name__}: {error}", 70, error)
    return 0


def _say_error(message: str, exit_code: int, error: BaseException) -> int:
    if os.environ.get("TRIPTYCH_DEBUG"):
        import traceback

        traceback.print_exception(error)
    from triptych.app.text import clean  # what an endpoint or a file said is untrusted

    for line in message.splitlines() or [""]:
        click.echo(f"error: {clean(line)}", err=True)
    if exit_code == 70 and not os.environ.get("TRIPTYCH_DEBUG"):
        click.echo("set TRIPTYCH_DEBUG=1 for the traceback", err=True)
    return exit_code
