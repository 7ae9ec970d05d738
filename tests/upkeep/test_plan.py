"""What may go, on any store: properties of the plan, which is made from plain data."""

from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st

from vae.store.promises import Entry
from vae.upkeep.plan import AT_WORK_S, Policy, choose
from vae.upkeep.survey import DatasetState, Pointers, RunState, Survey, VersionState

NOW_S = 1e9
DAY_S = 24 * 3600.0
NAMES = [f"v{number}" for number in range(8)]
RUNS = [f"run-{number}" for number in range(4)]
DATASETS = [f"datasets/set-{number}" for number in range(3)]
ages = st.sampled_from([0.0, 0.9, 1.1, 5.0, 29.0, 31.0, 400.0])


def stamp(*keys: str, days: float) -> tuple[Entry, ...]:
    """Objects of this age."""
    return tuple(Entry(key, 10, NOW_S - days * DAY_S) for key in keys)


@st.composite
def versions(draw: st.DrawFn) -> VersionState:
    """A version of model m: whole, damaged, or never finished."""
    prefix = f"models/m/versions/{draw(st.sampled_from(NAMES))}"
    kind = draw(st.sampled_from(["whole", "whole", "whole", "damaged", "unfinished"]))
    return VersionState(
        prefix=prefix,
        entries=stamp(f"{prefix}/manifest.json", f"{prefix}/a.png", days=draw(ages)),
        damage="damaged" if kind == "damaged" else "",
        name="m",
        version=prefix.rpartition("/")[2],
        run_id=draw(st.sampled_from(RUNS)),
        dataset=draw(st.sampled_from(DATASETS)) if kind == "whole" else "",
        listed=frozenset({"manifest.json", "a.png"}) if kind == "whole" else frozenset(),
    )


@st.composite
def runs(draw: st.DrawFn) -> RunState:
    """A run at any stage, of any age."""
    run_id = draw(st.sampled_from(RUNS))
    prefix, has_data = f"runs/{run_id}", draw(st.booleans())
    files = ["experiment.json", "checkpoints/1.pt", "pictures/1.png", "search/trial-0001.json"]
    files += ["ray/x/fit/a", "attempts/0001.json", "wandb/offline-run-1.tar.gz"]
    published, start = draw(st.sampled_from(["", *NAMES])), draw(st.sampled_from(["", *NAMES]))
    done = draw(st.sampled_from([("data",), ("data", "train")])) if has_data else ()
    return RunState(
        prefix=prefix,
        entries=stamp(*(f"{prefix}/{file}" for file in files), days=draw(ages)),
        damage=draw(st.sampled_from(["", "", "damaged"])),
        run_id=run_id,
        recorded=frozenset(done),
        dataset=draw(st.sampled_from(DATASETS)) if has_data else "",
        published=published and f"models/m/versions/{published}",
        start=start and f"models/m/versions/{start}",
    )


@st.composite
def datasets(draw: st.DrawFn) -> DatasetState:
    """A dataset, whose digest is its key here."""
    prefix = draw(st.sampled_from(DATASETS))
    return DatasetState(
        prefix=prefix,
        entries=stamp(f"{prefix}/dataset.json", f"{prefix}/train.npy", days=draw(ages)),
        digest=prefix,
        listed=frozenset({"dataset.json", "train.npy"}),
    )


@st.composite
def draw_survey(draw: st.DrawFn) -> Survey:
    """A store with one model, whose best version is mostly there."""
    found = draw(st.lists(versions(), min_size=2, max_size=8))
    names = [version.version for version in found]
    best = draw(st.sampled_from(["", "v9", *names]))
    named = draw(st.sets(st.sampled_from(NAMES), max_size=2))
    return Survey(
        runs={run.prefix: run for run in draw(st.lists(runs(), max_size=4))},
        versions={version.prefix: version for version in found},
        datasets={one.prefix: one for one in draw(st.lists(datasets(), max_size=3))},
        pointers={"m": Pointers(best=best, named=frozenset(named))},
    )


surveys = draw_survey()
policies = st.builds(
    lambda keep, days: Policy(keep=keep, older_than_s=days * DAY_S, now_s=NOW_S),
    st.integers(1, 4),
    st.sampled_from([0.5, 30.0]),
)


def list_going(survey: Survey, policy: Policy) -> set[str]:
    """The folders that may go."""
    return {item.prefix for item in choose(survey, policy).items}


@given(surveys, policies)
def test_the_best_and_what_is_named_never_go(survey: Survey, policy: Policy) -> None:
    """Nor does the version before the best, to which one goes back."""
    pointers = survey.pointers["m"]
    whole = sorted(one.version for one in survey.versions.values() if one.listed)
    before = [version for version in whole if version < pointers.best]
    kept = {pointers.best, *pointers.named, *before[-1:], *whole[-policy.keep :]}
    going = list_going(survey, policy)
    assert not going & {f"models/m/versions/{version}" for version in kept}


@given(surveys, policies)
def test_what_is_beyond_all_that_goes(survey: Survey, policy: Policy) -> None:
    """A whole version goes if it is not kept, and neither it nor its run was written to lately.

    Unless a run that stays has yet to begin with it, or the best one is missing, which a person has
    to see.
    """
    pointers = survey.pointers["m"]
    whole = [one for one in survey.versions.values() if one.listed]
    damaged = [one.version for one in survey.versions.values() if one.damage]
    assume(pointers.best in ["", *damaged, *(one.version for one in whole)])
    numbers = sorted(one.version for one in whole)
    before = [version for version in numbers if version < pointers.best]
    kept = {pointers.best, *pointers.named, *before[-1:], *numbers[-policy.keep :]}
    going = list_going(survey, policy)
    for version in whole:
        run = survey.runs.get(f"runs/{version.run_id}")
        lately = [one for one in (version, run) if one and NOW_S - one.wrote_s < AT_WORK_S]
        if version.version not in kept and not lately:
            assert (version.prefix in going) != (version.prefix in find_begun_from(survey, going))


def find_begun_from(survey: Survey, going: set[str]) -> set[str]:
    """The versions whose weights a run that stays has yet to begin with."""
    staying = [run for run in survey.runs.values() if run.prefix not in going]
    return {run.start for run in staying if "train" not in run.recorded}


@given(surveys, policies)
def test_what_a_run_begins_with_never_goes(survey: Survey, policy: Policy) -> None:
    """While the run stays and is not trained, be it at work or to be continued."""
    going = list_going(survey, policy)
    assert not going & find_begun_from(survey, going)


@given(surveys, policies)
def test_what_may_be_at_work_never_goes(survey: Survey, policy: Policy) -> None:
    """Nothing goes that was written to within a day, nor a version of such a run."""
    going = list_going(survey, policy)
    everything = [*survey.runs.values(), *survey.versions.values(), *survey.datasets.values()]
    for stored in everything:
        if NOW_S - stored.wrote_s < AT_WORK_S:
            assert not [prefix for prefix in going if f"{prefix}/".startswith(stored.prefix + "/")]
    for version in survey.versions.values():
        run = survey.runs.get(f"runs/{version.run_id}")
        if run and NOW_S - run.wrote_s < AT_WORK_S:
            assert version.prefix not in going


@given(surveys, policies)
def test_damaged_things_never_go(survey: Survey, policy: Policy) -> None:
    """A damaged run keeps its checkpoints too; only scratch that is known to be such goes."""
    going = list_going(survey, policy)
    for stored in [*survey.runs.values(), *survey.versions.values()]:
        if stored.damage:
            inside = {prefix for prefix in going if f"{prefix}/".startswith(stored.prefix + "/")}
            assert inside <= {f"{stored.prefix}/ray"}


@given(surveys, policies)
def test_a_dataset_that_something_needs_never_goes(survey: Survey, policy: Policy) -> None:
    """Neither one that what stays names, nor any while something that stays can't be asked."""
    going = list_going(survey, policy)
    staying = [one for one in survey.runs.values() if one.prefix not in going]
    published = [one for one in survey.versions.values() if one.prefix not in going]
    assert not going & {run.dataset for run in staying}
    assert not going & {version.dataset for version in published}
    dumb = any(version.damage for version in published)
    if dumb or any(run.damage and not run.dataset for run in staying):
        assert not going & set(DATASETS)


@given(surveys, policies)
def test_unpublished_runs_keep_all_until_they_are_old(survey: Survey, policy: Policy) -> None:
    """Of a run that can go on only scratch goes; of a published one what trained it."""
    going = list_going(survey, policy)
    for run in survey.runs.values():
        version = survey.versions.get(run.published)
        published = bool(version and version.listed)
        age_s = NOW_S - run.wrote_s
        if AT_WORK_S <= age_s < policy.older_than_s and not run.damage:
            inside = {prefix for prefix in going if prefix.startswith(run.prefix)}
            kinds = ("checkpoints", "pictures", "search") if published else ()
            trained = {f"{run.prefix}/{kind}" for kind in kinds}
            assert inside == {f"{run.prefix}/ray", *trained}


@given(surveys, policies)
def test_a_damaged_pointer_protects_its_model(survey: Survey, policy: Policy) -> None:
    """Nothing of the model goes, and it is said."""
    damaged = replace(survey, pointers={"m": Pointers(damage="torn")})
    plan = choose(damaged, policy)
    assert not [item for item in plan.items if item.prefix.startswith("models/")]
    assert "models/m stays: torn" in plan.notes


@given(surveys, policies)
def test_what_is_not_ours_never_goes(survey: Survey, policy: Policy) -> None:
    """A file that this package does not write keeps the folder it is in."""
    strange = replace(
        survey,
        runs={k: replace(v, entries=add(v.prefix, v.entries)) for k, v in survey.runs.items()},
        versions={
            k: replace(v, entries=add(v.prefix, v.entries)) for k, v in survey.versions.items()
        },
        datasets={
            k: replace(v, entries=add(v.prefix, v.entries)) for k, v in survey.datasets.items()
        },
    )
    going = list_going(strange, policy)
    assert not going & {*strange.runs, *strange.versions, *strange.datasets}


def add(prefix: str, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """The same, and a file of somebody else's."""
    return (*entries, Entry(f"{prefix}/notes.txt", 1, entries[0].modified_s))
