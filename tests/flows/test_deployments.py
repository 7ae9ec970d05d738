"""prefect.yaml, and what `vae serve` makes of it."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.flows import load_flow_from_entrypoint
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.utilities.callables import parameter_schema

from flows.deployments import serve_deployments, to_runner_deployments
from vae.cluster.session import Workers
from vae.errors import UserError
from vae.experiments.loading import load_experiment
from vae.upkeep.sweep import make_policy

ROOT = Path(__file__).parents[2]
FILE = ROOT / "prefect.yaml"
PIPELINE = "flows.pipeline.pipeline"
GC = "flows.gc.gc"


def declared() -> list[dict[str, Any]]:
    """The deployments as they are written."""
    entries: list[dict[str, Any]] = yaml.safe_load(FILE.read_text())["deployments"]
    return entries


def written(directory: Path, **settings: Any) -> Path:
    """A prefect.yaml with one deployment."""
    entry = {"name": "nightly", "entrypoint": PIPELINE} | settings
    file = directory / "prefect.yaml"
    file.write_text(yaml.safe_dump({"name": "test", "deployments": [entry]}))
    return file


def test_nightly_pipeline_weekly_search_and_gc_are_served() -> None:
    """The deployments have the names by which they are triggered by hand."""
    served = to_runner_deployments(FILE)
    names = [deployment.full_name for deployment in served]
    assert names == ["pipeline/nightly", "search/weekly", "gc/weekly"]


def test_served_deployments_are_those_of_the_file() -> None:
    """Names, parameters, schedules and limits are the same with and without a work pool."""
    for entry, served in zip(declared(), to_runner_deployments(FILE), strict=True):
        assert served.name == entry["name"]
        assert served.entrypoint == entry["entrypoint"]
        assert served.parameters == entry["parameters"]
        assert served.tags == entry["tags"]
        assert served.description == entry["description"]
        assert served.work_pool_name is None
        [schedule], [cron] = served.schedules or [], entry["schedules"]
        assert isinstance(schedule.schedule, CronSchedule)
        assert schedule.active
        assert schedule.schedule.cron == cron["cron"]
        assert schedule.schedule.timezone == cron["timezone"]
        assert schedule.slug == cron["slug"]


def test_overlapping_runs_are_cancelled_not_queued() -> None:
    """A deployment runs once at a time, and a run that finds another one at work gives way."""
    for served in to_runner_deployments(FILE):
        assert served.concurrency_limit == 1
        assert served.concurrency_options is not None
        assert served.concurrency_options.collision_strategy.value == "CANCEL_NEW"


def test_every_deployment_could_run() -> None:
    """The experiment, its overrides and the workers of every deployment are valid; gc's limits."""
    for entry in declared():
        given = entry["parameters"]
        if entry["entrypoint"] == GC:
            make_policy(given["keep"], given["older_than"], now_s=0.0)
            continue
        load_experiment(given["experiment"], given.get("overrides"))
        Workers.parse(given.get("workers", "auto"))


def test_workers_start_in_the_folder_that_was_deployed() -> None:
    """Prefect's only pull step is a change of directory: there is nothing to clone or install."""
    [step] = yaml.safe_load(FILE.read_text())["pull"]
    assert step == {"prefect.deployments.steps.set_working_directory": {"directory": "{{ $PWD }}"}}


@pytest.mark.parametrize("entry", declared(), ids=lambda entry: entry["name"])
def test_parameters_make_a_form(entry: dict[str, Any]) -> None:
    """Every parameter of a flow has a type, a default and a sentence of help in Prefect's UI."""
    flow: Any = load_flow_from_entrypoint(entry["entrypoint"])
    schema = parameter_schema(flow).model_dump_for_openapi()
    assert not schema.get("required")
    for name, parameter in schema["properties"].items():
        assert "type" in parameter or "anyOf" in parameter or "enum" in parameter, name
        assert parameter["description"], name


def test_environment_variables_are_filled_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """{{ $NAME }} means the same as it does to `prefect deploy`."""
    monkeypatch.setenv("TEST_STORE", "s3://bucket/prefix")
    [served] = to_runner_deployments(written(tmp_path, parameters={"store": "{{ $TEST_STORE }}"}))
    assert served.parameters == {"store": "s3://bucket/prefix"}


def test_interval_is_in_seconds(tmp_path: Path) -> None:
    """An interval schedule is a number of seconds, as in Prefect."""
    [served] = to_runner_deployments(written(tmp_path, schedules=[{"interval": 3600}]))
    [schedule] = served.schedules or []
    assert isinstance(schedule.schedule, IntervalSchedule)
    assert schedule.schedule.interval.total_seconds() == 3600


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A file that is not there is one line with its path."""
    with pytest.raises(UserError, match=r"can't read .*nope\.yaml: No such file"):
        to_runner_deployments(tmp_path / "nope.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("deployments: [", "not valid YAML"),
        ("\xff", "not valid YAML"),
        ("", "the file"),
        ("[]", "the file"),
        ("name: x", "deployments: Field required"),
        ("deployments: []", "at least 1 item"),
        ("deployments: [{name: a}]", "entrypoint: Field required"),
    ],
)
def test_a_malformed_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    """What is wrong with the file, and where."""
    file = tmp_path / "prefect.yaml"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=message) as caught:
        to_runner_deployments(file)
    assert len(str(caught.value).splitlines()) == 1
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "a/b"}, "name: String should match"),
        ({"entrypoint": "flows.nope.pipeline"}, "'flows.nope.pipeline' is no flow"),
        ({"entrypoint": "flows.pipeline.nope"}, "is no flow"),
        ({"entrypoint": "nope.py:pipeline"}, "is no flow"),
        ({"entrypoint": "nope"}, "is no flow"),
        ({"parameters": {"experimnt": "tiny"}}, "'experimnt', did you mean 'experiment'?"),
        ({"parameters": {"until": "trian"}}, "until: 'trian' is not one of"),
        ({"parameters": {"workers": [2]}}, "parameter workers"),
        ({"schedules": [{"cron": "0 2"}]}, "Invalid cron string"),
        ({"schedules": [{"corn": "0 2 * * *"}]}, "corn: Unexpected keyword"),
        ({"schedules": [{"cron": "0 2 * * *", "timezone": "Mars"}]}, 'timezone: "Mars"'),
        ({"concurrency_limit": {"limit": 1, "collision_strategy": "X"}}, "concurrency_limit"),
        ({"triggers": []}, "triggers: Extra inputs"),
    ],
)
def test_a_deployment_that_could_not_run_is_refused(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    """Nothing is registered that Prefect or the flow would refuse later."""
    with pytest.raises(UserError) as caught:
        to_runner_deployments(written(tmp_path, **settings))
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_serving_needs_a_lasting_server(capfd: pytest.CaptureFixture[str]) -> None:
    """Without PREFECT_API_URL it says in one line what to start and what to set."""
    unset = temporary_settings(restore_defaults={PREFECT_API_URL})
    with unset, pytest.raises(UserError) as error:
        serve_deployments(FILE)
    [line] = str(error.value).splitlines()
    assert "prefect server start" in line
    assert "PREFECT_API_URL=" in line
    assert capfd.readouterr() == ("", "")
