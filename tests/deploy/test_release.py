"""One version in all places, archives that can be built again, and a list of what is in them."""

import io
import tarfile
from importlib.metadata import distribution

import pytest

from deploy import release

EPOCH = 1_700_000_000


def test_every_place_says_the_version_of_the_package() -> None:
    assert release.differing(release.current_version()) == []


def test_a_place_that_says_another_version_is_named() -> None:
    assert release.differing("0.0.1") == list(release.PLACES)


def test_a_version_without_its_chapter_is_not_released() -> None:
    with pytest.raises(release.NotReleasable, match=r"## 0\.0\.1"):
        release.check_changelog("0.0.1")


def archive(*names: str, owner: str, time: int) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.uname = 4, time, owner
            tar.addfile(member, io.BytesIO(b"text"))
    return packed.getvalue()


def test_archives_differ_only_by_what_is_in_them() -> None:
    one = release.same_archive(archive("a", "b", owner="ada", time=1), EPOCH)
    same = release.same_archive(archive("b", "a", owner="bob", time=2), EPOCH)
    other = release.same_archive(archive("a", "c", owner="ada", time=1), EPOCH)

    assert one == same != other
    with tarfile.open(fileobj=io.BytesIO(one)) as tar:
        assert tar.getnames() == ["a", "b"]


def test_the_bill_lists_what_is_installed_beside_the_service() -> None:
    bill = release.bill_of_materials("1.0.0", EPOCH)
    listed = {one["name"]: one["version"] for one in bill["components"]}
    needed = [text.partition(">")[0] for text in distribution("activity-service").requires or ()]

    assert needed
    assert set(needed) <= set(listed)
    for name in needed:
        assert listed[name] == distribution(name).version
    assert all(one["externalReferences"] for one in bill["components"])
    assert bill == release.bill_of_materials("1.0.0", EPOCH)
    assert bill != release.bill_of_materials("1.0.1", EPOCH)


def test_every_locked_package_is_in_the_bill() -> None:
    lock = (release.ROOT / "requirements.lock").read_text()

    count = sum("==" in line for line in lock.splitlines())

    assert len(release.bill_of_materials("1.0.0", EPOCH)["components"]) == count
