"""Published versions as their readers see them: list them, find the one meant, read them.

A version exists once its manifest, which is written last, is there.
"""

from contextlib import suppress
from dataclasses import dataclass

from vae.errors import UserError, suggest
from vae.files import hash_bytes
from vae.registry.manifest import (
    MANIFEST,
    METRICS,
    FileRecord,
    IntegrityError,
    Manifest,
    NoVersionError,
    check_record,
    is_number,
    parse_object,
)
from vae.registry.names import (
    check_plain,
    find_manifests,
    find_versions,
    list_models,
    locate_model,
    locate_version,
    match_version,
)
from vae.registry.pointers import (
    BEST,
    LATEST,
    Pointer,
    read_aliases,
    read_best,
    read_pointer,
)
from vae.store.promises import Store


@dataclass(frozen=True, kw_only=True)
class VersionInfo:
    """One published version: what it is, its metrics, and the names that it goes by."""

    version: str
    manifest: Manifest | None  # None where that is damaged
    metrics: dict[str, float]
    best: bool
    aliases: tuple[str, ...] = ()
    damage: str = ""  # why there are no metrics: a file is not as it was published

    @property
    def notes(self) -> tuple[str, ...]:
        """What else its manifest says of how it came to be."""
        return self.manifest.notes if self.manifest else ()


def list_registry(store: Store) -> dict[str, list[VersionInfo]]:
    """Return the published versions of every model there is, by its name."""
    found = {}
    for name in list_models(store):
        with suppress(NoVersionError):  # its last was deleted since it was found
            found[name] = list_versions(store, name)
    return found


def list_versions(store: Store, name: str) -> list[VersionInfo]:
    """Return a model's published versions, sorted; raises NoVersionError if there is none."""
    best, _ = read_best(store, name)
    aliases = read_aliases(store, name)
    found = []
    for version in find_versions(store, name):
        manifest, metrics, damage = None, dict[str, float](), ""
        try:
            manifest = read_manifest(store, name, version)[1]
            metrics = read_metrics(store, name, version)
        except NoVersionError:  # deleted since it was found
            continue
        except IntegrityError as error:  # the others are there to be seen all the same
            damage = str(error)
        found.append(
            VersionInfo(
                version=version,
                manifest=manifest,
                metrics=metrics,
                best=best is not None and best.version == version,
                aliases=tuple(alias for alias, says in aliases.items() if says.version == version),
                damage=damage,
            )
        )
    return found


def check_published(store: Store, name: str, version: str) -> Manifest:
    """Read every file of a version in the store; return its manifest.

    Raises UserError if there is no such version, IntegrityError if a file is not the published one.
    """
    _, manifest = read_manifest(store, name, version)
    for file, record in manifest.files.items():
        read_published(store, f"{locate_version(name, version)}/{file}", record)
    return manifest


def find_version_of(store: Store, name: str, recipe: str) -> str | None:
    """The newest whole version that was made by this recipe, if there is one."""
    for version in sorted((v for _, v in find_manifests(store, locate_model(name))), reverse=True):
        try:
            _, manifest = read_manifest(store, name, version)
        except (IntegrityError, NoVersionError):  # `vae list` says the first: as good as none
            continue
        if manifest.recipe == recipe:
            return version
    return None


def read_manifest(store: Store, name: str, version: str) -> tuple[bytes, Manifest]:
    """Return a published version's manifest and its bytes.

    Raises NoVersionError if there is none, IntegrityError if it is another version's.
    """
    key = f"{locate_version(name, version)}/{MANIFEST}"
    try:
        data = store.read(key)
    except FileNotFoundError as error:
        hint = suggest(version, find_versions(store, name))
        raise NoVersionError(f"model {name!r} has no version {version!r}{hint}") from error
    manifest = Manifest.from_bytes(data, f"{store.uri}/{key}")
    if (manifest.name, manifest.version) != (name, version):
        raise IntegrityError(f"{store.uri}/{key} is of {manifest.name}@{manifest.version}")
    return data, manifest


def resolve(store: Store, name: str, given: str = BEST) -> tuple[bytes, Manifest]:
    """The manifest, and its bytes, of the version that somebody means.

    `given`: best, latest, an alias, a version, or as much of its beginning as no other has. Raises
    UserError if there is none, IntegrityError if a pointer's manifest is not the one it named.
    """
    check_plain("version", given)
    versions = find_versions(store, name)
    if given == LATEST:
        return read_manifest(store, name, versions[-1])
    pointer = None if given in versions else read_pointer(store, name, given)[0]
    if pointer is not None and not pointer.removed:
        return _read_named_manifest(store, name, given, pointer, versions)
    if given == BEST:
        raise UserError(
            f"model {name!r} has no best version: vae promote {name}@{versions[-1]}, or name one"
        )
    return read_manifest(store, name, match_version(given, versions, name))


def _read_named_manifest(
    store: Store, name: str, given: str, pointer: Pointer, versions: list[str]
) -> tuple[bytes, Manifest]:
    if pointer.version not in versions:
        way_out = f"vae promote {name}@{versions[-1]}"
        if given != BEST:
            way_out = f"vae alias {name}@{versions[-1]} {given}"
        raise UserError(f"{name}@{given} is {pointer.version}, which was deleted: {way_out}")
    data, manifest = read_manifest(store, name, pointer.version)
    found = hash_bytes(data)
    if found != pointer.manifest_sha256:
        raise IntegrityError(
            f"{store.uri}/{locate_version(name, pointer.version)}/{MANIFEST} was changed: "
            f"expected sha256 {pointer.manifest_sha256}, found {found}"
        )
    return data, manifest


def read_metrics(store: Store, name: str, version: str) -> dict[str, float]:
    """A published version's metrics, verified; raises UserError, an IntegrityError if changed."""
    _, manifest = read_manifest(store, name, version)
    key = f"{locate_version(name, version)}/{METRICS}"
    metrics = parse_object(
        read_published(store, key, manifest.files[METRICS]), f"{store.uri}/{key}"
    )
    return {metric: float(value) for metric, value in metrics.items() if is_number(value)}


def read_published(store: Store, key: str, record: FileRecord) -> bytes:
    """An object's bytes; raises IntegrityError unless they are the recorded ones."""
    where = f"{store.uri}/{key}"
    try:
        data = store.read(key)
    except FileNotFoundError as error:
        raise IntegrityError(f"{where} is missing, the manifest lists it") from error
    check_record(FileRecord.from_bytes(data), record, where)
    return data
