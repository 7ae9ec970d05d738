"""A store that breaks its promises is refused; one that keeps them is asked once."""

import secrets
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.support.refusals import catch_refusal
from tests.support.versions import publish_version, write_version
from vae.registry.promote import promote
from vae.store.local import LocalStore
from vae.store.open import open_store
from vae.store.probe import KEPT, PROBE, check_promises
from vae.store.promises import Store

DEADLINE_S = 60.0


@pytest.fixture
def careless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store on rclone's S3 server, which takes conditions and ignores them."""
    key, secret = secrets.token_hex(8), secrets.token_hex(16)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (tmp_path / "served" / "bucket").mkdir(parents=True)
    command = [str(Path(sysconfig.get_path("scripts")) / "rclone"), "serve", "s3"]
    command += [str(tmp_path / "served"), f"--addr=127.0.0.1:{port}", f"--auth-key={key},{secret}"]
    command += [f"--config={tmp_path / 'rclone.conf'}", "--vfs-cache-mode=full"]
    command += [f"--cache-dir={tmp_path / 'cache'}"]
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": "us-east-1",
        "NO_PROXY": "127.0.0.1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with (tmp_path / "rclone.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until_it_answers(process, tmp_path / "rclone.log")
        yield open_store("s3://bucket/prefix")
    finally:
        process.kill()
        process.wait()


def wait_until_it_answers(process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Until the bucket of the AWS_* variables can be listed."""
    config = Config(connect_timeout=1, read_timeout=5, retries={"max_attempts": 0}, proxies={})
    client = botocore.session.Session().create_client("s3", config=config)
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            client.list_objects_v2(Bucket="bucket")
        except (BotoCoreError, ClientError):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        else:
            client.close()
            return


def test_a_store_is_asked_once(store: Store) -> None:
    """A folder and SeaweedFS keep their promises: that is remembered, and no probe stays."""
    check_promises(store)
    assert store.list() == [KEPT]
    remembered = store.read_token(KEPT)
    check_promises(store)
    assert store.read_token(KEPT) == remembered


class Careless(LocalStore):
    """A folder whose file system lets everybody create what is there."""

    def create(self, key: str, data: bytes) -> None:
        self.put(key, data)


def test_what_was_seen_of_one_store_is_not_believed_of_its_copy(tmp_path: Path) -> None:
    """All of a store is copied: the other one is asked too, and then remembers for itself."""
    first, copy = LocalStore(tmp_path / "first"), LocalStore(tmp_path / "copy")
    check_promises(first)
    copy.put(KEPT, first.read(KEPT))
    assert "ignores If-None-Match" in catch_refusal(check_promises, Careless(copy.root))
    check_promises(copy)
    check_promises(Careless(copy.root))


@pytest.mark.slow
def test_a_store_that_ignores_conditions_is_refused(careless: Store, tmp_path: Path) -> None:
    """Nothing is published to it nor promoted, the reason is one line, and no probe stays.

    That is so where it was filled with a copy of one that keeps its promises, too.
    """
    first = LocalStore(tmp_path / "first")
    check_promises(first)
    careless.put(KEPT, first.read(KEPT))
    told = catch_refusal(check_promises, careless)
    assert f"store {careless.uri} ignores If-None-Match" in told
    directory = write_version(tmp_path / "version", 90.0)
    assert catch_refusal(publish_version, careless, "v1", directory) == told
    assert catch_refusal(promote, careless, "m", "v1", 90.0) == told
    assert not [key for key in careless.list() if key.startswith((PROBE, "models"))]
