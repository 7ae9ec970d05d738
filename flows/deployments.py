"""The deployments of prefect.yaml, served from this machine: no work pool, no second list."""

import asyncio
import os
from pathlib import Path
from typing import Any

import yaml
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.deployments.runner import RunnerDeployment
from prefect.events.schemas.deployment_triggers import (
    DeploymentCompoundTrigger,
    DeploymentEventTrigger,
    DeploymentMetricTrigger,
    DeploymentSequenceTrigger,
    DeploymentTriggerTypes,
)
from prefect.exceptions import MissingFlowError, ScriptError
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.schedules import Schedule
from prefect.settings import get_current_settings
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools import validate
from prefect.utilities.templating import apply_values
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from flows.server import check_answers
from flows.service import serve_until_stopped
from vae.cluster.session import Workers
from vae.errors import UserError, extract_message, suggest
from vae.experiments.loading import load_experiment
from vae.store.open import open_store
from vae.upkeep.sweep import make_policy

TRIGGERS = (
    DeploymentEventTrigger,
    DeploymentMetricTrigger,
    DeploymentCompoundTrigger,
    DeploymentSequenceTrigger,
)

INHERITED = {  # by the flow runs
    "PREFECT_LOGGING_EXTRA_LOGGERS": "vae",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_CLASS": "flows.console.OutlivingHandler",
}


class Entry(BaseModel):
    """One deployment in prefect.yaml: the settings that mean the same with and without workers."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    name: str = Field(pattern=r"^[^/%&<>]+$")
    entrypoint: str
    description: str | None = None
    version: str | None = None
    tags: list[str] = []
    parameters: dict[str, Any] = {}
    schedules: list[Schedule] = []
    concurrency_limit: int | ConcurrencyLimitConfig | None = None
    paused: bool = False
    triggers: list[DeploymentTriggerTypes] = []
    work_pool: dict[str, Any] | None = None  # where a worker would take it from

    @model_validator(mode="before")
    @classmethod
    def fill_in(cls, written: Any) -> Any:
        """Fill in {{ $VARIABLES }}, as `prefect deploy` does."""
        if not isinstance(written, dict):
            return written
        entry, triggers = apply_values(written, {}), written.get("triggers")
        if isinstance(triggers, list):
            entry["triggers"] = [fill_in_trigger(trigger) for trigger in triggers]
        return entry

    @field_validator("triggers", mode="before")
    @classmethod
    def refuse_unknown(cls, given: Any) -> Any:
        """Refuse what Prefect would leave out in silence: without `expect` every event fires."""
        known = {name for trigger in TRIGGERS for name in trigger.model_fields}
        for trigger in given if isinstance(given, list) else []:
            for name in trigger if isinstance(trigger, dict) else ():
                if name not in known:
                    raise ValueError(f"a trigger has no '{name}'{suggest(name, known)}")
        return given


class Project(BaseModel):
    """What is read of prefect.yaml; how workers get the code does not concern this machine."""

    deployments: list[Entry] = Field(min_length=1)


def serve_deployments(file: Path) -> None:
    """Register every deployment of a prefect.yaml and run what is due, one run at a time.

    Returns when it is stopped by SIGINT or SIGTERM; a run at work is cancelled then, and the
    schedules are paused from then on. Raises UserError if the file can't be served, or there is no
    lasting server to register with.
    """
    deployments = to_runner_deployments(file)
    if not get_current_settings().api.url:
        raise UserError(
            "PREFECT_API_URL is not set, schedules need a lasting server: run `prefect server "
            "start` and set PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    check_answers()
    for name, value in INHERITED.items():
        os.environ.setdefault(name, value)
    asyncio.run(serve_until_stopped(deployments))


def to_runner_deployments(file: Path) -> list[RunnerDeployment]:
    """The deployments of a prefect.yaml as they are served: the same but for the work pool.

    Raises UserError, in one line, for a missing or malformed file, an entry point that is no flow,
    and parameters that the flow does not take.
    """
    return [to_runner_deployment(file, entry) for entry in read_project(file).deployments]


def read_project(file: Path) -> Project:
    """A prefect.yaml, validated. Raises UserError."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        return Project.model_validate(content)
    except OSError as error:
        raise UserError(f"can't read the deployments in {file}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not valid YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(f"{file}: {where}: {first['msg']}, given {first['input']!r}") from None


def fill_in_trigger(written: Any) -> Any:
    """A trigger with its {{ $VARIABLES }} filled in, but for its parameters.

    Those hold what an event fills in, such as {{ event.payload.location }}.
    """
    if not isinstance(written, dict) or "parameters" not in written:
        return apply_values(written, {})
    return apply_values(written, {}) | {"parameters": written["parameters"]}


def to_runner_deployment(file: Path, entry: Entry) -> RunnerDeployment:
    """One deployment, its parameters checked against its flow. Raises UserError."""
    where = f"{file}: deployment '{entry.name}'"
    try:
        flow: Flow[..., Any] = load_flow_from_entrypoint(
            entry.entrypoint, use_placeholder_flow=False
        )
    except (ImportError, MissingFlowError, ScriptError, ValueError) as error:
        reason = extract_message(error)
        raise UserError(f"{where}: entrypoint '{entry.entrypoint}' is no flow: {reason}") from error
    check_parameters(where, flow, entry.parameters)
    check_values(where, flow, entry.parameters)
    for trigger in entry.triggers:
        check_names(where, flow, trigger.parameters or {})
    try:
        deployment = RunnerDeployment.from_entrypoint(
            entry.entrypoint,
            name=entry.name,
            schedules=entry.schedules,
            concurrency_limit=entry.concurrency_limit,
            parameters=entry.parameters,
            description=entry.description,
            tags=entry.tags,
            version=entry.version,
            paused=entry.paused,
            triggers=list(entry.triggers),
        )
    except ValidationError as error:  # a time zone that is none
        raise UserError(f"{where}: {error.errors(include_url=False)[0]['msg']}") from None
    # Said, not left out, so that a pool that it was deployed to before does not keep it.
    deployment.work_pool_name = deployment.work_queue_name = None
    return deployment


def check_parameters(where: str, flow: Flow[..., Any], given: dict[str, Any]) -> None:
    """Raise UserError for parameters of another name or type than the flow takes."""
    check_names(where, flow, given)
    schema = parameter_schema(flow).model_dump_for_openapi()
    for error in validate(given, schema, preprocess=True):
        name = ".".join(str(part) for part in error.absolute_path)
        raise UserError(f"{where}: parameter {name}: {error.message}")


def check_names(where: str, flow: Flow[..., Any], given: dict[str, Any]) -> None:
    """Raise UserError for a parameter that the flow does not take."""
    known = parameter_schema(flow).properties
    for name in given:
        if name not in known:
            raise UserError(
                f"{where}: {flow.name} takes no parameter '{name}'{suggest(name, known)}"
            )


def check_values(where: str, flow: Flow[..., Any], given: dict[str, Any]) -> None:
    """Raise UserError for what the flow would refuse once it runs: settings, workers, ages."""
    schema = parameter_schema(flow).properties
    values = {name: each.get("default") for name, each in schema.items()} | given
    try:
        if values.get("experiment") is not None:
            load_experiment(values["experiment"], values.get("overrides"))
        if values.get("store") is not None:
            open_store(values["store"])
        if "workers" in values:
            Workers.parse(values["workers"])
        if "older_than" in values:
            make_policy(values["keep"], values["older_than"], now_s=0.0)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
