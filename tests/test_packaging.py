"""The bounds, the lock and the conda environment say the same thing."""

import re
import tomllib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import tada

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
INSTALLED_EXTRAS = ("book", "dev")
OWN_TOOLS = {"pip", "setuptools", "wheel"}  # of the environment itself


def lock() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pins}


def requirements() -> list[Requirement]:
    project = PROJECT["project"]
    extras = [project["optional-dependencies"][name] for name in INSTALLED_EXTRAS]
    return [Requirement(text) for text in sum(extras, project["dependencies"])]


def reachable() -> set[str]:
    """Names of everything the requirements pull in, by the metadata of what is installed."""
    todo, seen = requirements(), set()
    while todo:
        wanted = todo.pop()
        for extra in ("", *wanted.extras):
            with suppress(PackageNotFoundError):
                below = [Requirement(text) for text in requires(wanted.name) or []]
                if (wanted.name, extra) not in seen:
                    seen.add((wanted.name, extra))
                    todo += [one for one in below if one.marker is None or one.marker.evaluate({"extra": extra})]
    return {canonicalize_name(name) for name, _ in seen} - OWN_TOOLS


def test_every_requirement_has_a_floor_and_is_pinned_above_it_and_nothing_else_is_pinned() -> None:
    """pyproject holds lower bounds for other people's machines, not the lock's exact versions."""
    pins = lock()
    assert set(pins) == reachable()
    for requirement in requirements():
        assert "==" not in {clause.operator for clause in requirement.specifier}, str(requirement)
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)], prereleases=True), requirement


def test_environment_installs_from_the_lock_with_the_same_extras() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(item["pip"] for item in environment["dependencies"] if isinstance(item, dict))
    assert pip == ["-c constraints.txt", f"-e .[{','.join(INSTALLED_EXTRAS)}]"]
    assert f"'.[{','.join(INSTALLED_EXTRAS)}]'" in (ROOT / "Makefile").read_text()


def test_python_versions_agree() -> None:
    floor = PROJECT["project"]["requires-python"].removeprefix(">=")
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert f"python={floor}" in dependencies
    assert PROJECT["tool"]["ruff"]["target-version"] == "py" + floor.replace(".", "")
    assert PROJECT["tool"]["mypy"]["python_version"] == floor
    major, minor = map(int, floor.split("."))
    assert f"sys.version_info >= ({major}, {minor})" in (ROOT / "Makefile").read_text()


def test_versions_agree() -> None:
    stated = PROJECT["project"]["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert tada.__version__ == stated == citation["version"]
    assert f"## {stated}" in (ROOT / "CHANGELOG.md").read_text()
    assert Version(stated).release == (0, 1, 0)


def test_citation_names_the_paper_and_its_authors() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    paper = citation["preferred-citation"]
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "license"} <= set(citation)
    names = [author["family-names"] for author in paper["authors"]]
    assert names == ["Staniszewski", "Zaleska", "Modrzejewski", "Deja"]
    assert "2602.11910" in paper["url"]


def test_the_check_script_runs_the_readme_s_commands() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    readme = (ROOT / "README.md").read_text()
    for command in ("make test", "make book"):
        assert re.search(rf"^timed {command}\b", script, re.M)
        assert command in readme
