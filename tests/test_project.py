"""The project as a whole: versions, packaging, documents that say what is so."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import clebsch

ROOT = Path(__file__).parent.parent
TRACKED_SUFFIXES = {".py", ".md", ".toml", ".yml", ".yaml", ".cpp", ".h", ""}


def project_files() -> list[Path]:
    """The text files under version control, or, in an unpacked archive, all of them."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode == 0:
        paths = [ROOT / line for line in listed.stdout.splitlines()]
    else:
        folders = ("src", "tests", "docs", "scripts", "benchmarks", ".ci")
        paths = [p for folder in folders for p in (ROOT / folder).rglob("*")] + list(ROOT.glob("*"))
    return [p for p in paths if p.is_file() and p.suffix in TRACKED_SUFFIXES]


def test_installed_version_is_the_source_version() -> None:
    assert importlib.metadata.version("clebsch") == clebsch.__version__


def test_changelog_speaks_of_this_version() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased" or headings[0] == clebsch.__version__
    assert clebsch.__version__ in headings or headings == ["Unreleased"]


def test_type_marker_and_package_data_are_packaged() -> None:
    package = Path(clebsch.__file__).parent
    assert (package / "py.typed").is_file()
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert config["tool"]["setuptools"]["package-data"]["clebsch"] == [
        "data/*",
        "reproduce/rows/*.yaml",
        "lammps/*.cpp",
        "py.typed",
    ]


def test_every_run_time_import_is_a_declared_dependency() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    declared = {re.split(r"[<>=\[]", d)[0].lower() for d in config["project"]["dependencies"]}
    declared.add("yaml" if "pyyaml" in declared else "")
    declared |= {"clebsch"} | {m.lower() for m in sys.stdlib_module_names}
    extras = config["project"]["optional-dependencies"]
    optional = ("lammps", "engines", "phonons", "density", "crystals", "foundation")
    declared |= {re.split(r"[<>=\[]", d)[0].lower() for name in optional for d in extras[name]}
    declared.add("skimage" if "scikit-image" in declared else "")
    peers = {re.split(r"=", d)[0] for d in extras["bench"]}
    unknown = set()
    for path in (ROOT / "src").rglob("*.py"):
        pattern = r"^\s*(?:import|from) ([a-z_0-9]+)"
        imported = {n.lower() for n in re.findall(pattern, path.read_text(), re.MULTILINE)}
        # A benchmark's side runs only where its peer is installed.
        unknown |= imported - declared - (peers if path.parent.name == "sides" else set())
    assert not unknown, f"imported in src/ but not a dependency in pyproject.toml: {unknown}"


def test_no_path_of_one_machine_in_the_tree() -> None:
    # The pattern is put together here so that this file does not match itself.
    pattern = re.compile("|".join(("/" + "work/", "/" + "root/", "/" + r"home/\w+/", "/" + "tmp/")))
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in project_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, "\n".join(found)


def markdown_links() -> list[tuple[Path, str]]:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.md")]
    return [
        (page, target)
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
        if "://" not in target
    ]


def test_links_between_documents_lead_somewhere() -> None:
    links = markdown_links()
    assert links
    missing = [
        f"{page.relative_to(ROOT)}: {target}"
        for page, target in links
        if not (page.parent / target).exists()
    ]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("target", ["run", "test", "lint", "docs", "bench", "clean"])
def test_make_knows_the_target(target: str) -> None:
    done = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", target],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
