"""Commands about a rollout's journal: verify, show."""

from dataclasses import asdict

import typer

from tasks.command_line import HOME, Home, Json, Rollout, answer, folder_of, journal_of, say

journal_app = typer.Typer(no_args_is_help=True, help="Look at a rollout's journal.")


@journal_app.command()
def verify(rollout: Rollout = None, home: Home = HOME, as_json: Json = False) -> None:
    """Check the journal's chain over all its files, and the anchors beside the reports against it.

    Example: graygate journal verify

    Exit codes: 0 nothing was found, 3 there is no such rollout, 5 the journal is damaged.
    """
    from engine.adapters.journal_check import verify_folder

    folder = folder_of(home, rollout)
    checked = verify_folder(folder)
    say(
        f"{checked.records} records in {checked.segments} file(s), each follows from the one before; "
        f"{checked.anchors} anchor(s) fit them; head {checked.head}"
    )
    if checked.unacknowledged_bytes:
        say(f"{checked.unacknowledged_bytes} bytes at the end were never acknowledged: a writer was killed, no damage.")
    answer({"verified": True, "rollout": folder.name, **asdict(checked)}, as_json)


@journal_app.command()
def show(
    rollout: Rollout = None,
    home: Home = HOME,
    as_json: Json = False,
) -> None:
    """Print the journal: a line per record, and a sentence where there is one. --json prints whole records.

    Example: graygate journal show
    """
    from reports.terminal import sentence_of

    for record in journal_of(folder_of(home, rollout)).records():
        if as_json:
            typer.echo(record.to_line().decode())
            continue
        sentence = sentence_of(record) or record.body.get("reason") or record.body.get("refusal") or ""
        columns = f"{record.seq:>4} {record.ts} {record.stage or '-':<8} {record.type.value:<18} {record.actor:<14}"
        typer.echo(f"{columns} {sentence}".rstrip())
