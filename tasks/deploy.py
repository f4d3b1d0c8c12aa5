"""Roll back before you roll out: a live drill, then the candidate on the stage's symbols, then the stage's clock."""

from engine.clock import NS_PER_S
from engine.errors import RefusedError, ServiceError
from engine.rollout.journal import RecordType
from engine.rollout.plan import Stage
from tasks.observe import wait_for_market
from tasks.wiring import Wiring


def deploy(wiring: Wiring, stage_name: str) -> None:
    """Bring the service to the stage, once. Raises ServiceError or RefusedError with the baseline live."""
    if wiring.state().stage(stage_name).start_ns is not None:
        return
    stage = wiring.plan.stage(stage_name)
    wait_for_market(wiring, _earliest_start_ns(wiring))
    _drill(wiring, stage)
    _apply(wiring, stage)
    release = wiring.spec.releases[stage_name]
    body = {"symbols": list(wiring.spec.symbols[stage_name]), "fingerprint": release.fingerprint}
    wiring.journal.append_once(f"{stage_name}/deploy", RecordType.DEPLOYED, body, stage=stage_name)
    window_ns = wiring.plan.measurement_window_s * NS_PER_S
    start_ns = -(-int(wiring.service.status()["clock_ns"]) // window_ns) * window_ns
    started = {"start_ns": start_ns, "end_ns": start_ns + stage.observe_s * NS_PER_S}
    wiring.journal.append_once(f"{stage_name}/start", RecordType.STAGE_STARTED, started, stage=stage_name)


def _earliest_start_ns(wiring: Wiring) -> int:
    """Stages follow each other in market time, also when the service was started anew in between."""
    ends = [stage.end_ns for stage in wiring.state().stages if stage.end_ns is not None]
    return max([wiring.spec.market_start_ns, *ends])


def _drill(wiring: Wiring, stage: Stage) -> None:
    """Apply, roll back, verify: the measured time is what a real rollback would take now."""
    if wiring.state().stage(stage.name).drill_seconds is not None:
        return
    _apply(wiring, stage)
    seconds = roll_back_and_verify(wiring)
    body = {"seconds": seconds, "symbols": list(wiring.spec.symbols[stage.name])}
    wiring.journal.append_once(f"{stage.name}/drill", RecordType.DRILLED, body, stage=stage.name)


def _apply(wiring: Wiring, stage: Stage) -> None:
    outcome = wiring.state().outcome
    if outcome is not None:
        raise RefusedError(f"the rollout is over ({outcome}); nothing is deployed any more")
    release = wiring.spec.releases[stage.name]
    symbols = wiring.spec.symbols[stage.name]
    answer = wiring.service.apply(
        rollout_id=wiring.spec.rollout, stage=stage.name, epoch=wiring.journal.epoch,
        fingerprint=release.fingerprint, params=release.params, live=list(symbols),
    )  # fmt: skip
    wanted = dict.fromkeys(answer["live"], wiring.spec.baseline.fingerprint) | dict.fromkeys(
        symbols, release.fingerprint
    )
    different = sorted(symbol for symbol, found in answer["live"].items() if found != wanted[symbol])
    if different:
        raise ServiceError(
            f"{different[0]} runs {answer['live'][different[0]]} after the deploy, not {wanted[different[0]]}"
        )


def roll_back_and_verify(wiring: Wiring) -> float:
    """Put the baseline on every symbol and read its fingerprint back; return the seconds it took.

    The baseline is what the service names as stable: under the rollback switches that is the
    planned one pinned to quiet.
    """
    started_ns = wiring.clock.mono_ns()
    wiring.service.roll_back(epoch=wiring.journal.epoch)
    status = wiring.service.status()
    live = status["live"]
    wrong = sorted(symbol for symbol, found in live.items() if found != status["stable"])
    if wrong:
        raise ServiceError(f"{wrong[0]} still runs {live[wrong[0]]} after the rollback")
    return (wiring.clock.mono_ns() - started_ns) / NS_PER_S
