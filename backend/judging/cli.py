"""`inpaintdpo simulate`: simulated annotators judge a project here and now."""

import json
import time
from typing import Annotated

import typer

from backend.catalogue import repository as catalogue
from backend.catalogue.models import Criterion
from backend.judging import leases, simulate
from backend.kit.database import Database
from backend.settings import Settings

app = typer.Typer(no_args_is_help=True)


@app.command("simulate")
def simulate_command(
    project_slug: Annotated[str, typer.Argument(metavar="PROJECT", help="The project's short name in URLs.")],
    annotators: Annotated[int, typer.Option(min=1, max=200, help="How many annotators judge in turn.")] = 8,
    error_rate: Annotated[float, typer.Option(min=0, max=1, help="Probability that a verdict is flipped.")] = 0.1,
    side_bias: Annotated[float, typer.Option(min=0, max=1, help="Probability of answering by side (left wins).")] = 0.0,
    judgments: Annotated[int | None, typer.Option(min=1, help="Stop after so many; all there is if left out.")] = None,
    criterion: Annotated[Criterion | None, typer.Option(help="Judge only comparisons of this criterion.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of their mistakes.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON.")] = False,
) -> None:
    """Let simulated annotators judge what an exact judge has verdicts for.

    They take comparisons and answer them as people do, and are marked as simulated wherever they show. Comparisons
    with a candidate that has no verdict are left to people.
    """
    database = Database(Settings().resolved_database_url)
    started = time.monotonic()
    behaviour = simulate.Behaviour(error_rate, side_bias)
    with database.transaction() as session:
        project = catalogue.project_by_slug(session, project_slug)
        if project is None:
            known = ", ".join(sorted(one.slug for one in catalogue.all_projects(session))) or "none yet"
            typer.echo(f"There is no project “{project_slug}”. Projects here: {known}.", err=True)
            raise typer.Exit(2)
        people = simulate.ensure_annotators(session, project, behaviour, annotators)
        leases.expire(session)
    done = 0
    while judgments is None or done < judgments:
        size = min(simulate.BATCH, judgments - done) if judgments else simulate.BATCH
        with database.transaction() as session:
            batch = simulate.judge_batch(
                session, project, people, behaviour, count=size, criterion=criterion, seed=seed
            )
        done += batch
        if batch < size:
            break
    seconds = time.monotonic() - started
    if as_json:
        typer.echo(json.dumps({"judgments": done, "annotators": annotators, "seconds": round(seconds, 2)}))
    else:
        typer.echo(f"{annotators} simulated annotators gave {done:,} judgments in {seconds:.1f} s.")
    database.dispose()
