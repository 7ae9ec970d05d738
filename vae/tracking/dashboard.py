"""A saved view of a W&B project and reports of searches, made by code.

Needs the extra `dashboard`. Each is found again, and replaced, by what it is called in W&B: no
machine keeps anything of it.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, cast

import wandb
from wandb.sdk.lib.service.service_connection import WandbApiFailedError
from wandb_workspaces import expr
from wandb_workspaces import workspaces as ws
from wandb_workspaces.reports.v2 import interface as wr
from wandb_workspaces.workspaces import internal
from wandb_workspaces.workspaces.errors import SpecVersionError

from vae.errors import UserError, extract_message
from vae.tracking.panels import (
    LOSS,
    Panels,
    Searched,
    draw_bounds,
    draw_interaction,
    draw_latents,
    draw_optimisation,
    draw_pictures,
    draw_rates,
    draw_search,
    draw_system,
)
from vae.tracking.sync import check_account
from vae.tracking.tracker import find_project, read_mode

COLUMNS = ("run:jobType", f"summary:{LOSS}", "summary:val/nll", "summary:test/nll")
ACROSS, WIDTH, HEIGHT = 2, 12, 8  # panels of a report side by side; their size on its grid of 24
REFUSED = (wandb.Error, WandbApiFailedError, SpecVersionError, ValueError, OSError)


class Place(NamedTuple):
    """A W&B project."""

    entity: str
    project: str


def find_place() -> Place:
    """The project that runs are tracked in. Raises UserError offline, without key or server."""
    mode = read_mode()
    if mode in ("offline", "disabled"):
        raise UserError(f"WANDB_MODE is '{mode}', but a dashboard is in W&B: unset it")
    check_account()
    with explain_refusals():
        api = wandb.Api()
        entity = api.settings["entity"] or api.default_entity
    if not entity:
        raise UserError("W&B names no team or user for this key: set WANDB_ENTITY")
    return Place(str(entity), find_project())


@contextmanager
def explain_refusals() -> Iterator[None]:
    """What W&B refuses, or does not answer, as a UserError."""
    try:
        yield
    except REFUSED as error:
        raise UserError(f"W&B made no dashboard: {extract_message(error)}") from None


def save_view(place: Place, experiment: str | None, settings: Sequence[Searched]) -> str:
    """Make or replace the view of an experiment's runs, or of all; its address.

    Its name in W&B follows from the experiment, so that there is one. Raises UserError.
    """
    view = build_view(place, experiment, settings)
    with explain_refusals():
        view._internal_id = find_view(place, derive_key(experiment))
        return str(view.save().url)


def build_view(place: Place, experiment: str | None, settings: Sequence[Searched]) -> ws.Workspace:
    """The view, not yet in W&B."""
    mine = expr.And(expr.Tags().isin([experiment])) if experiment else ""
    view = ws.Workspace(
        entity=place.entity,
        project=place.project,
        name=experiment or "all experiments",
        sections=build_sections(settings),
        runset_settings=ws.RunsetSettings(filters=mine, pinned_columns=list(COLUMNS)),
    )
    view._internal_name = f"nw-{derive_key(experiment)}-v"  # as W&B's own pages call views
    return view


def derive_key(experiment: str | None) -> str:
    """What tells the view of an experiment, or of all, from others, in the form of W&B's keys."""
    return hashlib.sha256(f"vae {experiment or ''}".encode()).hexdigest()[:11]


def build_sections(settings: Sequence[Searched]) -> list[ws.Section]:
    """The parts of a view, from what is asked first to what is asked last."""
    parts = {
        "Bounds": draw_bounds(),
        "Rate and distortion": draw_rates(),
        "Latents": draw_latents(),
        "Search": draw_search(settings),
        "Pictures": draw_pictures(),
        "Optimisation": draw_optimisation(),
        "System": draw_system(),
    }
    return [ws.Section(name=name, panels=panels, is_open=True) for name, panels in parts.items()]


def find_view(place: Place, key: str) -> str:
    """The id of the view of that key; empty if there is none."""
    try:
        return str(internal.get_view_dict(place.entity, place.project, key)["id"])
    except ValueError:  # no such view, or no run was tracked in the project yet
        return ""


def save_report(place: Place, run_id: str, told: str, settings: Sequence[Searched]) -> str:
    """Make or replace the report of a run's search; its address.

    `told`: Markdown of what the search came to. `settings`: what it varied, what mattered most
    first. A report is found by its title: one that was renamed is left alone. Raises UserError.
    """
    with explain_refusals():
        report = build_report(place, run_id, told, settings)
        report.id = find_report(place, report.title)
        return str(report.save().url)


def build_report(place: Place, run_id: str, told: str, settings: Sequence[Searched]) -> wr.Report:
    """The report, not yet in W&B."""
    pair = draw_interaction(settings[0], settings[1]) if len(settings) > 1 else []
    trials = [*draw_search(settings), *pair, *draw_bounds()[:1], *draw_rates()[:1]]
    trained = [*draw_bounds()[:2], *draw_rates()[2:], *draw_latents()[:2], *draw_pictures()[:2]]
    return wr.Report(
        entity=place.entity,
        project=place.project,
        title=f"Search of {run_id}",
        blocks=[
            wr.MarkdownBlock(told),
            wr.H2("Its trials"),
            build_grid(place, "Trials", run_id, "search", trials),
            wr.H2("The winner's training"),
            build_grid(place, "Training", run_id, "train", trained),
        ],
        width="fluid",
    )


def build_grid(place: Place, name: str, run_id: str, job: str, panels: Panels) -> wr.PanelGrid:
    """Panels of the W&B runs that one job of a run has."""
    for number, panel in enumerate(panels):
        row, column = divmod(number, ACROSS)
        cast(wr.Panel, panel).layout = wr.Layout(
            x=column * WIDTH, y=row * HEIGHT, w=WIDTH, h=HEIGHT
        )
    theirs = expr.And(expr.Metric("Group") == run_id, expr.Metric("JobType") == job)
    runs = wr.Runset(entity=place.entity, project=place.project, name=name, filters=theirs)
    return wr.PanelGrid(runsets=[runs], panels=panels)


def find_report(place: Place, title: str) -> str:
    """The id of the report of that title; empty if there is none."""
    found = wandb.Api().reports("/".join(place))
    return next((str(one.id) for one in found if one.display_name == title), "")
