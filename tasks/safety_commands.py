"""Commands that make a rollout safe: rollback, kill, hold, rearm, drill, baseline. All local, none asks anything.

Exit codes: 0 done; 2 wrong input; 3 refused; 4 the service did not obey, or was stopped because it did not;
5 the journal could not be used, and what could be done without it was done.
"""

from typing import Any

import typer

from engine.adapters.supervisor import guardian_is_alive
from engine.errors import JournalError, RefusedError, ServiceError
from tasks import safety
from tasks.command_line import HOME, Home, Json, Name, Reason, Rollout, Symbols, answer, folder_of, say, user
from tasks.safety import Lowered, open_controls

safety_app = typer.Typer()


@safety_app.command()
def rollback(
    symbol: Symbols = None,
    reason: Reason = "ordered on the command line",
    name: Name = "",
    rollout: Rollout = None,
    home: Home = HOME,
    as_json: Json = False,
) -> None:
    """Put the baseline back now, on every symbol or on some. Needs neither Prefect nor a guardian nor a network.

    Example: graygate rollback --name Ada --reason "spread looks wrong"

    Exit codes: 0 done, 2 wrong input, 3 refused, 4 the service did not obey and was stopped, 5 done without a journal.
    """
    opened = open_controls(folder_of(home, rollout))
    lowered = safety.roll_back(opened, reason, name or user(), safety.named(opened, symbol))
    if lowered.is_running:
        say(f"The baseline is live on {_symbols(lowered)} of {opened.folder.name}; it took {lowered.seconds:.3f} s.")
    answer({"rolled_back": lowered.is_running, **_as_json(lowered)}, as_json)
    _raise_what_is_left(lowered)


@safety_app.command()
def kill(
    reason: Reason,
    name: Name,
    symbol: Symbols = None,
    rollout: Rollout = None,
    home: Home = HOME,
    as_json: Json = False,
) -> None:
    """Stop trading now: baseline, flat, no more orders until it is re-armed. One decision, no question asked.

    Example: graygate kill --symbol ETHUSDT --name Ada --reason "positions look wrong"

    Exit codes: 0 done, 2 wrong input, 4 the service did not obey and was stopped, 5 done without a journal.
    """
    opened = open_controls(folder_of(home, rollout))
    lowered = safety.kill(opened, reason, name, safety.named(opened, symbol))
    if lowered.is_running:
        say(f"Trading is stopped on {_symbols(lowered)} of {opened.folder.name}; it took {lowered.seconds:.3f} s.")
    answer({"killed": True, "flat": lowered.is_running, **_as_json(lowered)}, as_json)
    _raise_what_is_left(lowered)


@safety_app.command()
def hold(reason: Reason, name: Name, rollout: Rollout = None, home: Home = HOME, as_json: Json = False) -> None:
    """End a rollout where it stands: what is live stays live, nothing advances.

    Example: graygate hold --name Ada --reason "waiting for the exchange's maintenance"

    Exit codes: 0 done, 2 wrong input, 3 refused, 5 the journal could not be used.
    """
    opened = open_controls(folder_of(home, rollout))
    record = opened.orders.hold(reason, name)
    live = opened.orders.state().desired()
    stays = f"the candidate stays on {', '.join(live)}; graygate rollback takes it off" if live else "nothing is live"
    say(f"Rollout {opened.folder.name} is held; {stays}.")
    answer({"held": True, "reason": record.body["reason"], "live": live}, as_json)


@safety_app.command()
def rearm(reason: Reason, name: Name, rollout: Rollout = None, home: Home = HOME, as_json: Json = False) -> None:
    """Allow another attempt at the stage after a rollback, a kill or a hold: a person's decision, with a reason.

    Example: graygate rearm --name Ada --reason "feed repaired, see ticket 12"

    Exit codes: 0 done, 2 wrong input, 3 refused, 5 the journal could not be used.
    """
    opened = open_controls(folder_of(home, rollout))
    opened.orders.rearm(reason, name)
    state = opened.orders.state()
    say(f"Rollout {opened.folder.name} may make attempt {state.attempt + 1}; go on with graygate resume.")
    answer({"rearmed": True, "attempt": state.attempt + 1, "epoch": state.epoch}, as_json)


@safety_app.command()
def drill(name: Name = "", rollout: Rollout = None, home: Home = HOME, as_json: Json = False) -> None:
    """Practise a rollback of what is live now: take it back, read back, put it in force again; the guardian does it.

    Example: graygate drill --name Ada

    Exit codes: 0 done, 3 refused, 4 the drill failed and the rollout goes back, 5 the journal could not be used.
    """
    folder = folder_of(home, rollout)
    if not guardian_is_alive(folder):
        raise RefusedError(f"no guardian watches {folder.name}, and only a guardian may deploy again after the drill; "
                           "start it with graygate resume")  # fmt: skip
    seconds = safety.drill(open_controls(folder), name or user())
    say(f"The drill's way back took {seconds:.3f} s; what was live is live again.")
    answer({"drilled": True, "seconds": seconds}, as_json)


@safety_app.command()
def baseline(
    reason: Reason = "the service was started on the baseline",
    name: Name = "",
    rollout: Rollout = None,
    home: Home = HOME,
    as_json: Json = False,
) -> None:
    """Stop the service, start it with STRATEGY_MODE=quiet and DYNAMIC_MODE_ENABLED=false, and read it back.

    Example: graygate baseline --name Ada --reason "last resort"

    Exit codes: 0 done, 2 wrong input, 4 the service does not start or does not obey, 5 done without a journal.
    """
    folder = folder_of(home, rollout)
    lowered = safety.to_baseline(folder, reason, name or user())
    say(f"The service of {folder.name} runs the baseline and refuses every deploy; it took {lowered.seconds:.3f} s.")
    answer({"baseline": True, **_as_json(lowered)}, as_json)
    _raise_what_is_left(lowered)


def _symbols(lowered: Lowered) -> str:
    return "every symbol" if lowered.symbols is None else ", ".join(lowered.symbols)


def _as_json(lowered: Lowered) -> dict[str, Any]:
    return {
        "seconds": lowered.seconds,
        "tier": lowered.tier,
        "symbols": lowered.symbols,
        "journaled": lowered.trouble is None,
    }


def _raise_what_is_left(lowered: Lowered) -> None:
    """What a person has to look at, although everything that could be done was done."""
    if lowered.trouble is not None:
        raise JournalError(f"the journal was not told ({lowered.trouble}); tier: {lowered.tier}. Nothing may go on "
                           "before it is looked at: graygate journal verify")  # fmt: skip
    if not lowered.is_running:
        raise ServiceError("the service did not obey even after a restart and was stopped; it trades nothing. "
                           "See service/service.log, then graygate baseline")  # fmt: skip
