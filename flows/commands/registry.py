"""The registry: look at versions, and fetch one."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import Named, StoreUri, split_named
from flows.commands.writing import write_text
from vae.errors import UserError
from vae.store.progress import TRANSFERS

app = typer.Typer()


@app.command("list")
def list_(
    name: Annotated[str | None, typer.Argument(help="A model; all of them without it.")] = None,
    store: StoreUri = "./store",
) -> None:
    """List published models and their versions, the best one starred."""
    from vae.registry.read import list_registry, list_versions
    from vae.registry.table import format_versions
    from vae.store.open import open_store

    opened = open_store(store)
    with opened.explain_errors():
        models = {name: list_versions(opened, name)} if name else list_registry(opened)
    if not models:
        typer.echo(f"no models in {opened.uri}")
        return
    typer.echo("\n".join(format_versions(models, datetime.now(UTC))))


@app.command()
def show(model: Named, store: StoreUri = "./store") -> None:
    """Tell everything about a version: where it comes from, its settings, its metrics."""
    from vae.registry.pointers import BEST, read_aliases, read_best
    from vae.registry.read import read_metrics, resolve
    from vae.registry.table import describe_version
    from vae.store.open import open_store

    name, version = split_named(model)
    opened = open_store(store)
    with opened.explain_errors():
        _, manifest = resolve(opened, name, version)
        metrics = read_metrics(opened, name, manifest.version)
        best, _ = read_best(opened, name)
        pointers = ({BEST: best} if best else {}) | read_aliases(opened, name)
    named = {key: says for key, says in pointers.items() if says.version == manifest.version}
    typer.echo("\n".join(describe_version(manifest, metrics, named)))


@app.command()
def compare(
    a: Named,
    b: Named,
    out: Annotated[Path | None, typer.Option(help="A page to write, with pictures.")] = None,
    store: StoreUri = "./store",
) -> None:
    """Show what differs between two versions: settings, metrics and, on a page, pictures."""
    from vae.publishing.comparison import compare as compare_versions
    from vae.publishing.comparison import format_comparison, render_comparison
    from vae.store.open import open_store

    opened = open_store(store)
    with opened.explain_errors():
        found = compare_versions(opened, split_named(a), split_named(b))
        page = render_comparison(opened, found) if out else ""
    typer.echo("\n".join(format_comparison(found)))
    if out:
        write_text(out, page)
        typer.echo(f"\n{out} shows their pictures side by side")


@app.command()
def pull(
    model: Named,
    to: Annotated[Path, typer.Option(help="The folder to make.")],
    only: Annotated[
        str, typer.Option(metavar="all|weights", help="weights: what load_model needs.")
    ] = "all",
    store: StoreUri = "./store",
) -> None:
    """Download a model, verify every file's SHA-256, and print its metrics.

    What a pull that was killed had downloaded is kept.
    """
    from vae.registry.pull import pull as pull_model
    from vae.registry.read import read_metrics
    from vae.store.open import open_store

    if only not in ("all", "weights"):
        raise UserError(f"--only is '{only}', must be all or weights")
    name, version = split_named(model)
    opened, weights = open_store(store), only == "weights"
    with opened.explain_errors(), show_transfers():
        manifest = pull_model(opened, name, version, to, only_weights=weights)
        metrics = read_metrics(opened, name, manifest.version)
    count = len(list(to.iterdir())) if weights else len(manifest.files)
    typer.echo(f"{name}@{manifest.version}: {count} files verified, in {to}")
    typer.echo(json.dumps(metrics, indent=2))


@contextmanager
def show_transfers() -> Iterator[None]:
    """A context in which the lines about long transfers are printed, beside the output proper."""
    told, handler = logging.getLogger(TRANSFERS), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    level = told.level
    told.addHandler(handler)
    told.setLevel(logging.INFO)
    try:
        yield
    finally:
        told.setLevel(level)
        told.removeHandler(handler)


@app.command()
def history(
    name: Annotated[str, typer.Argument(help="A model.")], store: StoreUri = "./store"
) -> None:
    """List every move of a model's best and of its aliases, and every deletion, the newest last."""
    from vae.registry.names import find_versions
    from vae.registry.pointers import list_moves
    from vae.registry.table import format_moves
    from vae.store.open import open_store

    opened = open_store(store)
    with opened.explain_errors():
        find_versions(opened, name)
        moves = list_moves(opened, name)
    typer.echo("\n".join(format_moves(moves)))
