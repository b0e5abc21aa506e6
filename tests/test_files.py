"""Files are written atomically, by one process at a time."""

import errno
import multiprocessing
import os
import re

import pytest

from syntone.errors import InputError
from syntone.files import atomic_write, check_writable, csv_text, lock, write_files


def test_a_file_appears_when_its_block_ends_well(tmp_path):
    path = tmp_path / "new" / "a.bin"
    with atomic_write(path) as handle:
        handle.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole" and os.listdir(path.parent) == ["a.bin"]


def test_a_block_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic_write(path) as handle:
        handle.write(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.bin"]


def test_what_a_killed_process_left_is_overwritten(tmp_path):
    (tmp_path / ".a.bin.tmp").write_bytes(b"left over, and longer")
    with atomic_write(tmp_path / "a.bin") as handle:
        handle.write(b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"new" and os.listdir(tmp_path) == ["a.bin"]


def test_none_of_several_files_is_replaced_before_all_are_written(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(TypeError):
        write_files({tmp_path / "a.txt": "new", tmp_path / "c.txt": 3})
    assert (tmp_path / "a.txt").read_text() == "old" and not (tmp_path / "c.txt").exists()
    write_files({tmp_path / "a.txt": "ä", tmp_path / "c.bin": b"\x00"})
    assert (tmp_path / "a.txt").read_bytes() == "ä".encode() and (tmp_path / "c.bin").read_bytes() == b"\x00"


@pytest.mark.parametrize("to", ["there.bin", "new/there.bin"])
def test_a_link_is_written_through(tmp_path, to):
    """Also one to a file that is not there yet, and one that other links and folders lead to."""
    link, folder = tmp_path / "a.bin", tmp_path / "folder"
    link.symlink_to(to)
    folder.symlink_to(tmp_path)
    with atomic_write(folder / "a.bin") as handle:
        handle.write(b"first")
    assert link.is_symlink() and (tmp_path / to).read_bytes() == b"first"
    write_files({link: "second"})
    assert link.is_symlink() and (tmp_path / to).read_bytes() == b"second"
    assert not [name for name in os.listdir((tmp_path / to).parent) if name.endswith(".tmp")]


def test_a_link_and_its_target_share_a_lock(tmp_path):
    (tmp_path / "link.npz").symlink_to("a.npz")
    with lock(tmp_path / "link.npz", flag="--f"):
        with pytest.raises(InputError, match="another run is writing"), lock(tmp_path / "a.npz", flag="--f"):
            pass


def one_device(source, target, replace=os.replace):
    """os.replace where every folder is a file system of its own."""
    if os.path.dirname(source) != os.path.dirname(target):
        raise OSError(errno.EXDEV, "Invalid cross-device link", str(source), None, str(target))
    replace(source, target)


@pytest.mark.parametrize("elsewhere", ["folder", "file", "none"])
def test_files_that_belong_together_may_lie_on_several_file_systems(tmp_path, monkeypatch, elsewhere):
    monkeypatch.setattr(os, "replace", one_device)
    out, other = tmp_path / "out", tmp_path / "other"
    out.mkdir()
    other.mkdir()
    if elsewhere == "folder":
        (out / "audio").symlink_to(other)
    elif elsewhere == "file":
        (out / "audio").mkdir()
        (out / "audio" / "b.wav").symlink_to(other / "c.wav")
    write_files({out / "a.txt": "a", out / "audio" / "b.wav": b"b"})
    assert (out / "a.txt").read_text() == "a" and (out / "audio" / "b.wav").read_bytes() == b"b"
    assert not list(tmp_path.rglob("*.tmp"))


def test_nothing_is_renamed_where_one_of_the_files_is_a_folder(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "b").mkdir()
    for paths in (["a.txt", "b"], ["b", "a.txt"]):
        with pytest.raises(IsADirectoryError, match="b'"):
            write_files({tmp_path / name: "new" for name in paths})
    assert (tmp_path / "a.txt").read_text() == "old" and sorted(os.listdir(tmp_path)) == ["a.txt", "b"]


def hold(path, ready, leave):
    with lock(path, flag="--f"):
        ready.set()
        leave.wait(30)


def test_a_second_process_is_refused_and_a_lock_leaves_nothing(tmp_path):
    path, context = tmp_path / "new" / "a.npz", multiprocessing.get_context("fork")
    ready, leave = context.Event(), context.Event()
    process = context.Process(target=hold, args=(path, ready, leave))
    process.start()
    assert ready.wait(30)
    with pytest.raises(InputError, match=f"--f: another run is writing {re.escape(str(path))}"), lock(path, flag="--f"):
        pass
    leave.set()
    process.join()
    with lock(path, flag="--f"):
        pass
    assert os.listdir(tmp_path) == []


def test_a_killed_process_leaves_no_lock(tmp_path):
    path, context = tmp_path / "a.npz", multiprocessing.get_context("fork")
    ready, leave = context.Event(), context.Event()
    process = context.Process(target=hold, args=(path, ready, leave))
    process.start()
    assert ready.wait(30)
    process.kill()
    process.join()
    with lock(path, flag="--f"):
        pass


def test_places_that_cannot_be_written_are_refused(tmp_path):
    (tmp_path / "file").write_text("")
    refused = [
        (tmp_path, False, "is a folder; give the path of a file"),
        (tmp_path / "file", True, "is a file; give a folder"),
        (tmp_path / "file" / "below.npz", False, "is a file, so .*below.npz cannot be made"),
        (tmp_path / "file" / "below", True, "is a file, so .*below cannot be made"),
    ]
    for path, folder, words in refused:
        with pytest.raises(InputError, match=f"^--f: .*{words}"):
            check_writable(path, flag="--f", folder=folder)
    assert check_writable(tmp_path / "new" / "a.npz", flag="--f") == tmp_path / "new" / "a.npz"
    assert check_writable(tmp_path, flag="--f", folder=True) == tmp_path


def test_a_closed_folder_is_refused_also_behind_a_link_or_around_a_file(tmp_path, monkeypatch):
    closed = tmp_path / "closed"
    closed.mkdir()
    (closed / "a.npz").write_text("")
    (tmp_path / "link.npz").symlink_to(closed / "new.npz")
    monkeypatch.setattr(os, "access", lambda place, mode: place != closed)  # root may write everywhere
    for path in (closed / "a.npz", closed / "b" / "c.npz", tmp_path / "link.npz"):
        with pytest.raises(InputError, match=f"--f: .*closed is not writable, so .*{path.name} cannot be written"):
            check_writable(path, flag="--f")
    assert check_writable(tmp_path / "new.npz", flag="--f") == tmp_path / "new.npz"


def test_csv_has_all_digits_and_empty_cells_for_what_is_not_there():
    assert csv_text(["a", "b, c"], [[1 / 3, None], [float("nan"), "x,y"]]) == 'a,"b, c"\n0.3333333333333333,\n,"x,y"\n'
