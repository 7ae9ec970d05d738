"""The command line: what it imports, and what it says to mistakes."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from flows.cli import main
from flows.commands.registry import show_transfers
from flows.commands.writing import write_bytes
from tests.support.filled_stores import FilledStore
from tests.support.refusals import catch_refusal
from tests.support.versions import publish_version, write_version
from vae.store.open import open_store
from vae.store.progress import Progress
from vae.store.promises import Store

VAE = Path(sys.executable).with_name("vae")
COMMANDS = ["run", "data", "search", "train", "evaluate", "publish"]
COMMANDS += [
    "list",
    "runs",
    "gc",
    "pull",
    "sample",
    "reconstruct",
    "interpolate",
    "latent",
    "serve",
]


def test_a_folder_is_no_file_to_write() -> None:
    """`--out .` is a mistake of whoever gave it."""
    for path in (Path(), Path("/")):
        assert catch_refusal(write_bytes, path, b"") == f"{path} cannot be written: it is a folder"


def vae(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Run the installed program to its end: exit status, standard output, standard error."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "VAE_"))}
    done = subprocess.run(
        [VAE, *arguments],
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


def one_line(status: int, out: str, err: str) -> str:
    """The one line with which the program refused, with status 2 and nothing printed before."""
    assert (status, out) == (2, ""), err
    [line] = err.splitlines()
    assert line.startswith("vae: ")
    return line


Main = Callable[..., tuple[int, str, str]]


@pytest.fixture
def here(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Main:
    """As `vae`, in this process: a refusal needs none of its own, and each takes a second."""
    for name in [name for name in os.environ if name.startswith(("PREFECT_", "VAE_"))]:
        monkeypatch.delenv(name)

    def call(*arguments: str, **environment: str) -> tuple[int, str, str]:
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
            patch.setattr(sys, "argv", ["vae", *arguments])
            for name, value in environment.items():
                patch.setenv(name, value)
            main()
        warned = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert not warned, "a process without a handler prints it"
        assert isinstance(ended.value.code, int)
        return ended.value.code, *capsys.readouterr()

    return call


@pytest.fixture
def refused(here: Main) -> Callable[..., str]:
    """The one line with which the command line refuses."""
    return lambda *arguments, **environment: one_line(*here(*arguments, **environment))


def test_version_and_settings() -> None:
    """What is installed, and what can be set: values of an experiment beside the defaults."""
    assert vae("--version") == (0, f"vae-pipeline {metadata.version('vae-pipeline')}\n", "")
    status, out, err = vae("settings", "--experiment", "tiny")
    assert (status, err) == (0, "")
    assert "train.learning_rate = 0.003    (default 0.001)\n" in out
    assert 'train.schedule = "constant"\n' in out
    assert "constant or cosine" in out


def test_help_lists_every_command() -> None:
    """One subcommand for each thing a person does."""
    status, out, err = vae("--help", COLUMNS="200")
    assert (status, err) == (0, "")
    words = out.split()
    assert [command for command in COMMANDS if command not in words] == []


def test_the_command_line_imports_nothing_heavy() -> None:
    """Help answers at once: no library of weight is imported before a command needs it."""
    code = (
        "import sys, flows.cli; "
        "print(sorted({'torch', 'ray', 'prefect', 'wandb', 'numpy', 's3fs'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_installed_program_refuses(s3_uri: str) -> None:
    """As a process of its own it says no more, and its status is the same."""
    assert "no-such" in one_line(*vae("run", "--experiment", "no-such"))
    assert "nobucket" in one_line(*vae("list", "--store", "s3://nobucket/prefix"))
    status, out, err = vae("run", "--nope")
    assert (status, out) == (2, "")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "modle.latent_dim=3"], "model"),
        (["--set", "model.latent_dmi=3"], "did you mean 'model.latent_dim'"),
        (["--set", "train.epochs=many"], "train.epochs"),
        (["--set", "model.latent_dim=0"], "latent_dim"),
        (["--set", "train.learning_rate=-1"], "learning_rate"),
        (["--set", "train.epochs"], "KEY=VALUE"),
        (["--experiment", "mnits"], "did you mean 'mnist'"),
        (["--experiment", "nope.toml"], "nope.toml"),
        (["--workers", "0"], "workers is '0'"),
        (["--workers", "4:2"], "workers is '4:2'"),
        (["--workers", "many"], "workers is 'many'"),
        (["--run-id", "../x"], "run id '../x'"),
        (["--run-id", ""], "run id ''"),
    ],
)
def test_a_run_that_could_not_succeed_never_starts(
    refused: Callable[..., str], tmp_path: Path, arguments: list[str], message: str
) -> None:
    """Settings, names and numbers are checked first: one line, status 2, an empty store."""
    store = tmp_path / "store"
    line = refused("run", "--store", str(store), *arguments)
    assert message in line
    assert open_store(str(store)).list() == []


@pytest.mark.skipif(os.path.exists("/dev/nvidia0"), reason="the cluster is asked, not this process")
def test_more_workers_than_processors_are_refused(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    """A training that could never be scheduled does not wait for ever."""
    count = (os.cpu_count() or 1) + 2
    line = refused("run", "--workers", str(count), "--store", str(tmp_path))
    assert f"workers is {count}" in line


def test_a_long_pull_tells_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, and only meanwhile."""
    with show_transfers():
        Progress("download", "models/m/a.bin", 1_024_000_000, every_s=0.0).advance(312_000_000)
    Progress("download", "models/m/b.bin", 1_024_000_000, every_s=0.0).advance(312_000_000)
    assert capsys.readouterr() == ("", "download a.bin  312 of 1,024 MB\n")


def test_a_store_that_cannot_be_written_is_refused(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    """A file where the folder should be, and an address that is none."""
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in refused("run", "--store", str(tmp_path / "file"))
    assert "s3://bucket/prefix" in refused("run", "--store", "http://host/bucket")


def test_an_s3_store_that_is_not_there_is_refused(refused: Callable[..., str], s3_uri: str) -> None:
    """A bucket that does not exist, and a server that does not answer."""
    away = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}
    for command in (["run"], ["list"], ["pull", "mnist", "--to", "model"]):
        assert "nobucket" in refused(*command, "--store", "s3://nobucket/prefix")
        refused(*command, "--store", s3_uri, **away)
    for endpoint in ("localhost:8333", "127.0.0.1", "http://", "http://host:99999", "http://[::1"):
        line = refused("list", "--store", s3_uri, AWS_ENDPOINT_URL=endpoint)
        assert f"AWS_ENDPOINT_URL is '{endpoint}', must be http" in line


@pytest.mark.slow
def test_a_prefect_server_that_does_not_answer_is_named(tmp_path: Path) -> None:
    """Before anything is trained or served, with the variable that names it."""
    url = "http://127.0.0.1:9/api"
    for command in (["run", "--store", str(tmp_path)], ["serve"]):
        status, _, err = vae(*command, PREFECT_API_URL=url)
        [line] = err.splitlines()
        assert status == 2
        assert f"no Prefect server answers at PREFECT_API_URL={url}" in line


def test_a_wrong_limit_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    """What, what was given, what is allowed; and nothing is deleted before."""
    store = ["--store", str(tmp_path / "store")]
    assert "older-than is '30', must be a number" in refused("gc", "--older-than", "30", *store)
    assert "such as 12h, 30d or 2w" in refused("gc", "--delete", "--older-than", "1m", *store)


def test_a_store_is_kept_up(tmp_path: Path) -> None:
    """Its runs are listed with the command that continues them; gc deletes what is old, if asked.

    Neither needs anything that takes seconds to import.
    """
    filled = FilledStore(tmp_path, time.time())
    filled.add_run("a-run-of-mine", "train")
    filled.age("runs", 31)
    store = ["--store", str(tmp_path / "store")]
    status, out, err = vae("runs", *store)
    assert (status, err) == (0, "")
    assert f"continue: vae run --run-id a-run-of-mine --store {filled.store.uri}" in out
    there = filled.store.list()
    away = {"TMPDIR": str(tmp_path), "WANDB_DIR": str(tmp_path)}
    for arguments, left in ((["gc"], there), (["gc", "--older-than", "5w", "--delete"], there)):
        assert vae(*arguments, *store, **away)[0] == 0
        assert filled.store.list() == left
    status, out, err = vae("gc", "--delete", *store, **away)
    assert (status, err) == (0, "")
    assert "runs/a-run-of-mine  (nothing written for 31 d)" in out
    assert filled.store.list() == []
    code = "import sys, flows.cli, vae.upkeep.report, vae.upkeep.look\n"
    code += "print(sorted({'torch', 'ray', 'prefect', 'wandb'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_model_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    """Names that are not published, or could not be."""
    store = ["--store", str(tmp_path / "store")]
    assert "'nope'" in refused("list", "nope", *store)
    assert "'nope'" in refused("pull", "nope", "--to", str(tmp_path / "to"), *store)
    assert "../x" in refused("list", "../x", *store)
    assert "NAME@VERSION" in refused("pull", "a@", "--to", str(tmp_path / "to"), *store)
    assert not (tmp_path / "to").exists()


def test_a_folder_that_is_no_model_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    """Pictures are only drawn from a folder that was pulled, and is as it was published."""
    out = tmp_path / "out.png"
    refused("sample", str(tmp_path), "--out", str(out))
    refused("latent", str(tmp_path / "nope"), "--out", str(out))
    (tmp_path / "manifest.json").write_text("{}")
    refused("reconstruct", str(tmp_path), "--out", str(out))
    assert not out.exists()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store in a folder, with m@v1."""
    store = open_store(str(tmp_path / "store"))
    publish_version(store, "v1", write_version(tmp_path / "built", 0.5))
    return store


def test_a_full_disk_is_told_from_a_store_that_is_away(store: Store, tmp_path: Path) -> None:
    """Pulling says where there is no room, and leaves nothing there."""
    here = tmp_path / "here"
    here.mkdir()
    no_room = ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh"]
    pull = [str(VAE), "pull", "m@v1", "--to", str(here / "pulled"), "--store", store.uri]
    done = subprocess.run([*no_room, *pull], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"vae: cannot write to {here}: File too large\n"
    assert list(here.iterdir()) == []


def test_a_tampered_model_is_refused(
    refused: Callable[..., str], store: Store, tmp_path: Path
) -> None:
    """A byte that changed after pulling is found before anything is loaded."""
    pulled = tmp_path / "pulled"
    status, _, err = vae("pull", "m@v1", "--to", str(pulled), "--store", store.uri)
    assert (status, err) == (0, "")
    (pulled / "config.json").write_text("[]")
    line = refused("sample", str(pulled), "--out", str(tmp_path / "out.png"))
    assert "config.json" in line
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    "arguments", [["nope"], ["run", "--nope"], ["pull", "mnist"], ["sample", ".", "--n", "0"]]
)
def test_wrong_usage_is_status_2(here: Main, arguments: list[str]) -> None:
    """Unknown commands and options, missing and impossible ones: no traceback."""
    status, out, err = here(*arguments)
    assert (status, out) == (2, "")
    assert "Traceback" not in err
