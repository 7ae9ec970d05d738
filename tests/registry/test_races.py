"""Many processes publish and promote at once, on a local folder and on a real S3 server."""

from pathlib import Path

from tests.support.racers import publish_and_promote, race_processes
from tests.support.versions import best_of
from vae.registry.pointers import list_moves
from vae.registry.read import check_published, list_versions
from vae.store.probe import check_promises
from vae.store.promises import Store

RACERS = 64


def test_the_best_of_64_processes_is_the_best(store: Store, tmp_path: Path) -> None:
    """Whoever comes when: one best, the truly best, by moves that lead from better to better."""
    values = [float((37 * number + 11) % RACERS) for number in range(RACERS)]
    names = [f"v{number:02}" for number in range(RACERS)]
    best = names[values.index(0.0)]
    check_promises(store)
    racers = [(store, name, tmp_path, value) for name, value in zip(names, values, strict=True)]
    was_best = race_processes(publish_and_promote, racers)
    assert set(was_best) <= {True, False}, was_best
    assert (best_of(store).version, best_of(store).value) == (best, 0.0)
    assert was_best[names.index(best)]
    versions = list_versions(store, "m")
    assert [info.metrics["val/nll"] for info in versions] == values
    assert [info.version for info in versions if info.best] == [best]
    check_published(store, "m", best)
    moves = [says.move.previous for _, says in list_moves(store, "m") if says.move]
    moved_to = [says.version for _, says in list_moves(store, "m")]
    assert moves == ["", *moved_to[:-1]]
    assert len(moved_to) == was_best.count(True)
