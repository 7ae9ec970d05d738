"""The registry: choose a model's best version, name versions, take names away, delete."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import Named, StoreUri, Why, split_exactly

if TYPE_CHECKING:
    from vae.registry.pointers import Best
    from vae.store.promises import Store

app = typer.Typer()


@app.command()
def promote(model: Named, why: Why = "", store: StoreUri = "./store") -> None:
    """Make a version the best, whatever its bound is; Prefect and W&B are told."""
    from vae.registry.curate import promote_by_hand
    from vae.registry.read import resolve
    from vae.store.open import open_store

    name, version = split_exactly(model)
    opened = open_store(store)

    def move() -> "Best":
        _, manifest = resolve(opened, name, version)
        return promote_by_hand(opened, name, manifest.version, why)

    move_best_and_tell(opened, name, move)


@app.command()
def rollback(
    name: Annotated[str, typer.Argument(help="A model.")],
    why: Why = "",
    store: StoreUri = "./store",
) -> None:
    """Make the version the best that the best was chosen over; again, and it goes further back."""
    from vae.registry.curate import roll_back
    from vae.store.open import open_store

    opened = open_store(store)
    move_best_and_tell(opened, name, lambda: roll_back(opened, name, why))


def move_best_and_tell(store: "Store", name: str, move: Callable[[], "Best"]) -> None:
    """Have `move` make another version the best, and tell whom it concerns."""
    from vae.registry.pointers import read_best

    with store.explain_errors():
        before, _ = read_best(store, name)
        best = move()
    typer.echo(f"the best of {name} is {best.version}, {best.metric} {best.value:.2f} nats")
    from flows.moves import tell_best

    with store.explain_errors():
        typer.echo("\n".join(tell_best(store, name, best, before)))


@app.command()
def alias(
    model: Named,
    alias: Annotated[str, typer.Argument(help="What it is to be called, such as prod.")],
    why: Why = "",
    store: StoreUri = "./store",
) -> None:
    """Give a version a name of its own, or a name another version; W&B is told."""
    from vae.registry.curate import set_alias
    from vae.registry.read import resolve
    from vae.store.open import open_store

    name, version = split_exactly(model)
    opened = open_store(store)
    with opened.explain_errors():
        _, manifest = resolve(opened, name, version)
        set_alias(opened, name, manifest.version, alias, why)
    typer.echo(f"{name}@{alias} is {manifest.version}")
    from flows.moves import tell_wandb

    typer.echo(tell_wandb(name, manifest.version, alias))


@app.command()
def unalias(
    model: Annotated[str, typer.Argument(metavar="NAME@ALIAS", help="What to take away.")],
    why: Why = "",
    store: StoreUri = "./store",
) -> None:
    """Take a name away from the version that has it; W&B is told."""
    from vae.registry.curate import remove_alias
    from vae.store.open import open_store

    name, alias = split_exactly(model)
    opened = open_store(store)
    with opened.explain_errors():
        version = remove_alias(opened, name, alias, why).version
    typer.echo(f"{name}@{alias} is no version any more; it was {version}")
    from flows.moves import tell_wandb_of_removal

    typer.echo(tell_wandb_of_removal(name, version, alias))


@app.command()
def delete(model: Named, why: Why = "", store: StoreUri = "./store") -> None:
    """Delete a version, never the best, one with an alias, or one that a run has yet to begin with.

    Prefect and W&B are told.
    """
    from vae.registry.curate import delete_version
    from vae.registry.read import resolve
    from vae.store.open import open_store
    from vae.upkeep.needed import refuse_if_needed

    name, given = split_exactly(model)
    opened = open_store(store)
    with opened.explain_errors():
        version = resolve(opened, name, given)[1].version
        needed = partial(refuse_if_needed, opened, name, version)
        manifest = delete_version(opened, name, version, why, needed)
    typer.echo(f"{name}@{version} is deleted, {len(manifest.files)} files")
    from flows.moves import tell_deletion

    typer.echo("\n".join(tell_deletion(opened, manifest, why)))
