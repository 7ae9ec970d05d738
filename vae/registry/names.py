"""Where a model's objects are, and which version somebody means."""

from collections.abc import Iterator

from vae.errors import UserError, suggest
from vae.files import PLAIN_NAME
from vae.registry.manifest import MANIFEST, NoVersionError
from vae.store.promises import Store

SHORT = 15  # characters of a version that people see at least: the time at which its run began
FEWEST = 4  # characters of a version that somebody may give


def check_plain(kind: str, value: str) -> str:
    """Return a name that means the same to every file system; raises UserError for another."""
    if not PLAIN_NAME.fullmatch(value):
        raise UserError(
            f"{kind} {value!r} is not 1 to 100 letters, digits, '-', '_' and '.', "
            "the first a letter or digit"
        )
    return value


def locate_model(name: str) -> str:
    """Return the key of a model's folder; raises UserError for a name that is not plain."""
    return f"models/{check_plain('model', name)}"


def locate_version(name: str, version: str) -> str:
    """Return the key of a version's folder; raises UserError for a name that is not plain."""
    return f"{locate_model(name)}/versions/{check_plain('version', version)}"


def find_manifests(store: Store, prefix: str) -> Iterator[tuple[str, str]]:
    """The name and version of everything published below a prefix."""
    for key in store.list(prefix):
        match key.split("/"):
            case ["models", name, "versions", version, str(file)] if file == MANIFEST:
                yield name, version


def list_models(store: Store) -> list[str]:
    """Return the names of the models with at least one published version, sorted."""
    return sorted({name for name, _ in find_manifests(store, "models")})


def find_versions(store: Store, name: str) -> list[str]:
    """A model's published versions, oldest first; raises NoVersionError if there is none."""
    versions = sorted(version for _, version in find_manifests(store, locate_model(name)))
    if not versions:
        hint = suggest(name, list_models(store))
        raise NoVersionError(f"no model {name!r} is published in {store.uri}{hint}")
    return versions


def match_version(given: str, versions: list[str], name: str) -> str:
    """The version that was given whole, or by a beginning that no other shares.

    Raises NoVersionError for one that is not there, UserError for one that is not unique.
    """
    if given in versions:
        return given
    found = [version for version in versions if version.startswith(given)]
    if len(given) >= FEWEST and len(found) == 1:
        return found[0]
    if len(found) > 1:
        raise UserError(
            f"{name}@{given} may be any of {len(found)} versions: {', '.join(found[:3])}"
            f"{', …' if len(found) > 3 else ''}; give more of it"
        )
    hint = suggest(given, versions)
    raise NoVersionError(f"model {name!r} has no version {given!r}{hint}")


def shorten(versions: list[str]) -> dict[str, str]:
    """The shortest beginning of each version, of SHORT characters at least, that is its alone."""
    short = {}
    for version in versions:
        length = SHORT
        while sum(other.startswith(version[:length]) for other in versions) > 1:
            if length >= len(version):  # it is how another one begins
                break
            length += 1
        short[version] = version[:length]
    return short
