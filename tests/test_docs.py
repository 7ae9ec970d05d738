"""The papers: every command, setting, experiment, link and path that they name exists."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from flows.cli import app
from vae.experiments.loading import list_shipped
from vae.experiments.table import list_settings, to_markdown

ROOT = Path(__file__).parents[1]
PAGES = [
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "infra/README.md"),
    *("tests/benchmarks/README.md", *(f"docs/{path.name}" for path in ROOT.glob("docs/*.md"))),
]
EVERY_PAGE = pytest.mark.parametrize("page", sorted(PAGES))
MOST_LINES = 90  # of the README: it is for newcomers

FENCE = re.compile(r"^ *```\w*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`]+)`")
COMMAND = re.compile(
    r"(?:^|\s)(?:\.venv/bin/)?vae ((?=[a-z-])[^>|&]*)"
)  # without what a shell does after it
TARGET = re.compile(r"^make (\S+)")
OVERRIDE = re.compile(r"--set '?([a-z_.]+)=")  # a placeholder is in capitals
SETTING = re.compile(r"(?:data|model|objective|train|evaluation|search)\.[a-z_]+(?= = |$)")
EXPERIMENT = re.compile(r"--experiment ([a-z0-9-]+)(?=[ `]|$)")  # nor is a file one of these
LINK = re.compile(r"\]\(([^)]+)\)")
REPOSITORY_PATH = re.compile(r"(?<![\w./:<-])(?:flows|vae|tuning|tests|docs|infra)/[\w./-]*")
PYTHON_NAME = re.compile(r"(?:[A-Za-z]\w*\.)?(\w+)")


def read_page(page: str) -> str:
    """The text of a page, by its path in the repository."""
    return (ROOT / page).read_text(encoding="utf-8")


def list_code(text: str) -> list[str]:
    """What a page shows as code: each line of its blocks, and each span, in one line."""
    blocks = [block.replace("\\\n", " ") for block in FENCE.findall(text)]
    lines = [line for block in blocks for line in block.splitlines()]
    spans = [" ".join(span.split()) for span in SPAN.findall(FENCE.sub("", text))]
    return lines + spans


def find_in_code(pattern: re.Pattern[str], page: str) -> Iterator[str]:
    """Every match of a pattern in the code of a page: its group, if it has one."""
    for code in list_code(read_page(page)):
        yield from pattern.findall(code)


def refuse_command(words: list[str]) -> str:
    """Why the command line would refuse these words, which it does not run; empty if it takes them.

    A command without anything behind it is a mention, which may leave out what is required.
    """
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    name, *given = words
    if name.startswith("-"):
        return "" if name in ("--help", "--version") else "no such option"
    command = group.commands.get(name)
    if command is None:
        return "no such command"
    try:
        with typer.Context(group, info_name="vae") as context:
            if given:
                command.make_context(name, given, parent=context)
    except Exception as error:  # whatever the parser raises is why
        return str(error)
    return ""


def make_anchor(heading: str) -> str:
    """The anchor that a heading has on GitHub."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def list_anchors(path: Path) -> list[str]:
    """The anchors of a page."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    return [make_anchor(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)]


@EVERY_PAGE
def test_commands_exist(page: str) -> None:
    """Each subcommand is there and takes the options and arguments that are shown."""
    commands = [shlex.split(found, comments=True) for found in find_in_code(COMMAND, page)]
    refused = {shlex.join(words): refuse_command(words) for words in commands}
    assert {command: why for command, why in refused.items() if why} == {}


@pytest.mark.parametrize(
    "words",
    [
        ["nope"],
        ["run", "--nope"],
        ["sample", "model"],
        ["sample", "model", "--out", "a.png", "--n", "many"],
        ["list", "mnist", "fashion-mnist"],
        ["--nope"],
    ],
)
def test_a_command_that_does_not_exist_is_found(words: list[str]) -> None:
    """A command, an option, an argument, a value: none of these goes unnoticed."""
    assert refuse_command(words)


@EVERY_PAGE
def test_make_targets_exist(page: str) -> None:
    """What a page says to `make` is a target of the Makefile."""
    targets = re.findall(r"^([a-z]+):", read_page("Makefile"), re.MULTILINE)
    assert set(find_in_code(TARGET, page)) <= set(targets)


@EVERY_PAGE
def test_settings_exist(page: str) -> None:
    """Each setting that is named, or set with --set, is one; so is a table of them."""
    names = {row.name for row in list_settings()}
    tables = {name.partition(".")[0] for name in names if "." in name}
    assert set(find_in_code(OVERRIDE, page)) <= names | tables
    spans = SPAN.findall(FENCE.sub("", read_page(page)))
    named = {found[0] for span in spans if (found := SETTING.match(span))}
    assert {name for name in named if not name.endswith(".json")} <= names


@EVERY_PAGE
def test_experiments_ship(page: str) -> None:
    """Each experiment that is named without being a file ships with the package."""
    assert set(find_in_code(EXPERIMENT, page)) <= set(list_shipped())


@EVERY_PAGE
def test_links_lead_somewhere(page: str) -> None:
    """Each relative link is to a file, or a heading, that is there."""
    for link in LINK.findall(read_page(page)):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (ROOT / page).parent / name if name else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in list_anchors(target), link


@EVERY_PAGE
def test_paths_exist(page: str) -> None:
    """Each path of the repository that is shown as code is there, or its example is."""
    for path in set(find_in_code(REPOSITORY_PATH, page)):
        assert (ROOT / path).exists() or (ROOT / f"{path}.example").exists(), path


def test_what_to_open_is_there() -> None:
    """In CONTRIBUTING's table, each name is defined in the file that is named before it."""
    rows = re.findall(r"^\| .* \| (.*`.*) \|$", read_page("CONTRIBUTING.md"), re.MULTILINE)
    assert len(rows) >= 10
    for row in rows:
        source = ""
        for span in SPAN.findall(row):
            if REPOSITORY_PATH.fullmatch(span):
                source = (ROOT / span).read_text(encoding="utf-8") if span.endswith(".py") else ""
            elif source and (name := PYTHON_NAME.fullmatch(span)):
                definition = rf"^ *(?:(?:def|class) {name[1]}\b|{name[1]}(?:: \w.*)? = )"
                assert re.search(definition, source, re.MULTILINE), f"{span} in: {row}"


def test_the_page_of_settings_is_that_of_the_code() -> None:
    """Written by: vae settings --markdown > docs/settings.md"""
    assert read_page("docs/settings.md") == to_markdown()


def test_the_readme_is_short() -> None:
    """A newcomer reads it to the end."""
    assert len(read_page("README.md").splitlines()) <= MOST_LINES
