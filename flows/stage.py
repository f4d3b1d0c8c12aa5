"""One look at one stage: preflight, deploy, observe, collect, compare, report, approve, act.

Level-triggered: a run does what the journal says is due and finds the rest done, so a lost,
doubled or killed run changes nothing.
"""

from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from engine.errors import EvidenceError, RefusedError, ServiceError
from engine.rollout.decision import Action
from engine.rollout.verdict import Finding, Verdict
from tasks import act as acting
from tasks import approve as approving
from tasks import approve_form
from tasks import collect as collecting
from tasks import compare as comparing
from tasks import deploy as deploying
from tasks import observe as observing
from tasks import preflight as checking
from tasks import report as reporting
from tasks.wiring import open_rollout

Judged = tuple[Verdict, list[Finding]]


@flow(name="stage", flow_run_name="{stage_name} slot {slot}", retries=0, persist_result=False)
def stage(folder: str, stage_name: str, slot: int) -> str:
    """Take a stage to the end of one slot and act on what it shows.

    Args:
        folder: Folder of the rollout.
        stage_name: Stage of its plan, for example 10pct.
        slot: Which slot, from 1; the last one is the end of the stage.
    """
    try:
        preflight(folder, stage_name)
        deploy(folder, stage_name)
        observe(folder, stage_name, slot)
        collect(folder, stage_name, slot)
        judged = compare(folder, stage_name, slot)
        report(folder, stage_name, slot, judged)
        approve(folder, stage_name, slot, judged)
        return act(folder, stage_name, slot, judged)
    except (ServiceError, EvidenceError) as error:
        acting.roll_back_after_error(open_rollout(Path(folder)), stage_name, error)
        return Action.ROLL_BACK.value
    except RefusedError:
        if not acting.is_ended(open_rollout(Path(folder))):
            raise
        return Action.ROLL_BACK.value  # somebody ended the rollout meanwhile


@task(cache_policy=NO_CACHE)
def preflight(folder: str, stage_name: str) -> None:
    """Is everything there that the stage needs?"""
    checking.preflight(open_rollout(Path(folder)), stage_name)


@task(cache_policy=NO_CACHE)
def deploy(folder: str, stage_name: str) -> None:
    """Order the drill and the candidate onto the stage's symbols; the guardian does it."""
    deploying.deploy(open_rollout(Path(folder)), stage_name)


@task(cache_policy=NO_CACHE)
def observe(folder: str, stage_name: str, slot: int) -> None:
    """Wait out the slot, scraping."""
    observing.observe(open_rollout(Path(folder)), stage_name, slot)


@task(cache_policy=NO_CACHE)
def collect(folder: str, stage_name: str, slot: int) -> None:
    """Commit the slot's evidence to Parquet."""
    collecting.collect(open_rollout(Path(folder)), stage_name, slot)


@task(cache_policy=NO_CACHE, persist_result=False)
def compare(folder: str, stage_name: str, slot: int) -> Judged:
    """Judge canary against baseline; pure, so never retried."""
    verdict, findings = comparing.compare(open_rollout(Path(folder)), stage_name, slot)
    rows = [
        {"condition": finding.condition, "role": finding.role, "verdict": finding.verdict.name, "why": finding.sentence}
        for finding in findings
    ]
    create_table_artifact(
        key=f"verdict-{stage_name}", table=rows, description=f"{stage_name} slot {slot}: {verdict.name}"
    )
    return verdict, findings


@task(cache_policy=NO_CACHE)
def report(folder: str, stage_name: str, slot: int, judged: Judged) -> str:
    """Render the evaluation report."""
    path = reporting.report(open_rollout(Path(folder)), stage_name, slot, *judged).resolve()
    markdown = path.with_suffix(".md").read_text()
    link = f"[Full report with charts]({path.as_uri()}) (`{path}`)\n\n"
    create_markdown_artifact(
        key=f"report-{stage_name}", markdown=link + markdown, description=f"{stage_name} slot {slot}"
    )
    return str(path)


@task(cache_policy=NO_CACHE)
def approve(folder: str, stage_name: str, slot: int, judged: Judged) -> None:
    """Ask a person, if there is something to ask."""
    wiring = open_rollout(Path(folder))
    verdict, findings = judged
    if acting.next_action(wiring, stage_name, slot, verdict) is not Action.ASK:
        return
    digest = approving.request_approval(wiring, stage_name)
    if wiring.spec.approve == "auto":
        approving.answer_automatically(wiring, stage_name, digest)
        return
    lines = "\n".join(f"- **{finding.verdict.name}** {finding.sentence}" for finding in findings)
    text = f"## Advance stage {stage_name}?\n\nVerdict **{verdict.name}**, evidence `{digest[:12]}`\n\n{lines}"
    approve_form.ask_in_prefect(wiring, stage_name, digest, text)


@task(cache_policy=NO_CACHE)
def act(folder: str, stage_name: str, slot: int, judged: Judged) -> str:
    """Advance, hold, roll back, or go on observing."""
    return acting.act(open_rollout(Path(folder)), stage_name, slot, *judged).value
