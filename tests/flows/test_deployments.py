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
from flows.events import DATA_CHANGED
from vae.errors import UserError

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


def test_every_deployment_of_the_file_is_served() -> None:
    """The deployments have the names by which they are triggered by hand."""
    served = to_runner_deployments(FILE)
    names = [deployment.full_name for deployment in served]
    assert names == [
        "pipeline/nightly",
        "search/weekly",
        "gc/weekly",
        "watch/images",
        "pipeline/images",
    ]


def test_served_deployments_are_those_of_the_file() -> None:
    """Names, parameters, schedules and limits are the same with and without a work pool."""
    for entry, served in zip(declared(), to_runner_deployments(FILE), strict=True):
        assert served.name == entry["name"]
        assert served.entrypoint == entry["entrypoint"]
        assert served.parameters == entry["parameters"]
        assert served.tags == entry["tags"]
        assert served.description == entry["description"]
        assert served.work_pool_name is None
        for schedule, given in zip(served.schedules or [], entry.get("schedules", []), strict=True):
            assert schedule.slug == given["slug"]
            assert schedule.active is given.get("active", True)
            if "interval" in given:
                assert isinstance(schedule.schedule, IntervalSchedule)
                assert schedule.schedule.interval.total_seconds() == given["interval"]
                continue
            assert isinstance(schedule.schedule, CronSchedule)
            assert schedule.schedule.cron == given["cron"]
            assert schedule.schedule.timezone == given["timezone"]


def test_a_run_by_the_clock_gives_way_and_one_by_an_event_waits() -> None:
    """One at a time; what an event tells of would be forgotten if its run were cancelled."""
    for served in to_runner_deployments(FILE):
        assert served.concurrency_limit == 1
        assert served.concurrency_options is not None
        strategy = "ENQUEUE" if served.triggers else "CANCEL_NEW"
        assert served.concurrency_options.collision_strategy.value == strategy


def test_the_watch_emits_what_the_pipeline_waits_for() -> None:
    """The shipped trigger names the resource and the event of the shipped watch."""
    *_, watch, trained = to_runner_deployments(FILE)
    [trigger] = trained.triggers
    assert watch.parameters == {"data": trained.parameters["overrides"]["data.name"]}
    given = trigger.model_dump()
    assert given["match"] == {"prefect.resource.id": f"vae.data.{watch.parameters['data']}"}
    assert given["expect"] == {DATA_CHANGED}


def test_what_an_event_fills_in_stays_as_it_is_written(tmp_path: Path) -> None:
    """As `prefect deploy` has it: the parameters of a trigger are filled in when it fires."""
    parameters = {"overrides": {"data.name": "{{ event.payload.location }}"}}
    trigger = {"expect": ["vae.data.changed"], "parameters": parameters}
    [served] = to_runner_deployments(written(tmp_path, triggers=[trigger]))
    assert [known.model_dump()["parameters"] for known in served.triggers] == [parameters]


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
        ({"triggers": [{"expct": ["x"]}]}, "a trigger has no 'expct', did you mean 'expect'?"),
        ({"triggers": [{"type": "evnt"}]}, "triggers.0: Input tag 'evnt'"),
        ({"triggers": "daily"}, "triggers: Input should be a valid list"),
        ({"triggers": [{"parameters": {"experimnt": "x"}}]}, "no parameter 'experimnt'"),
        ({"parameters": {"experiment": "tinny"}}, "'nightly': unknown experiment 'tinny'"),
        ({"parameters": {"experiment": "./nope.toml"}}, "unknown experiment './nope.toml'"),
        ({"parameters": {"overrides": {"train.epohcs": 2}}}, "'train.epohcs', did you mean"),
        ({"parameters": {"overrides": {"train.epochs": "x"}}}, "'nightly': train.epochs"),
        ({"parameters": {"workers": "many"}}, "workers is 'many'"),
        ({"parameters": {"store": "ftp://x"}}, "store 'ftp://x'"),
        ({"entrypoint": GC, "parameters": {"older_than": "soon"}}, "soon"),
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
