"""Places where a result cannot go, and what is left of what was there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from clebsch.errors import UserError
from clebsch.files import atomic_path, check_place, make_folder


def _write(target: Path, after: Callable[[], object] = lambda: None) -> None:
    with atomic_path(target) as temporary:
        temporary.write_text("2")
        after()


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.csv"
    with atomic_path(target) as temporary:
        temporary.write_text("1")
        assert not target.exists()
    assert target.read_text() == "1"
    with pytest.raises(ZeroDivisionError):
        _write(target, lambda: 1 / 0)
    assert target.read_text() == "1"
    assert [p.name for p in target.parent.iterdir()] == ["a.csv"]


def test_places_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "folder.csv"
    folder.mkdir()
    with (
        pytest.raises(UserError, match=r"folder\.csv: is a folder; name a file"),
        atomic_path(folder),
    ):
        pytest.fail("the work is done before the place is looked at")
    with pytest.raises(UserError, match=r"cannot be written .*too long"):
        _write(tmp_path / ("a" * 300 + ".csv"))
    file = tmp_path / "file"
    file.write_text("kept")
    with pytest.raises(UserError, match=r"a\.csv: cannot be written"):
        _write(file / "a.csv")
    with pytest.raises(UserError, match=r"file: cannot be made \(it is a file"):
        make_folder(file)
    with pytest.raises(UserError, match="below: cannot be made"):
        make_folder(file / "below")
    assert file.read_text() == "kept"
    assert make_folder(tmp_path / "a" / "b").is_dir()
    assert make_folder(tmp_path / "a" / "b").is_dir()


def test_a_place_is_looked_at_before_the_work_and_nothing_is_made(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("kept")
    check_place(file)
    check_place(tmp_path / "new" / "newer" / "a.csv")
    with pytest.raises(UserError, match="is a folder; name a file"):
        check_place(tmp_path)
    with pytest.raises(UserError, match=r"a\.csv: cannot be written \(.*file is no folder\)"):
        check_place(file / "new" / "a.csv")
    if os.geteuid() != 0:  # who may do anything
        (tmp_path / "shut").mkdir(mode=0o500)
        with pytest.raises(UserError, match="not yours to write in"):
            check_place(tmp_path / "shut" / "new" / "a.csv")
    assert {p.name for p in tmp_path.iterdir()} <= {"file", "shut"}


def test_a_place_that_vanishes_is_named_but_other_missing_files_are_not(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    with pytest.raises(UserError, match=r"a\.csv: cannot be written"):
        _write(gone / "a.csv", lambda: shutil.rmtree(gone))
    with pytest.raises(FileNotFoundError):
        _write(tmp_path / "a.csv", (tmp_path / "none").read_text)
