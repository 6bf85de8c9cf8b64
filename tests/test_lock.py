"""requirements.lock, as `make install` hands it to whichever pip the machine's Python brought along."""

from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCK = Path(__file__).parent.parent / "requirements.lock"


def locked() -> list[Requirement]:
    lines = LOCK.read_text().splitlines()
    pins = [Requirement(line.rstrip(" \\")) for line in lines if line[:1].isalnum()]
    return [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]


def test_what_is_asked_for_with_an_extra_is_pinned_with_it() -> None:
    """pip before 23.3 takes `name[extra]` for unpinned where the lock has only `name`, and wants the newest release."""
    pins = {canonicalize_name(pin.name): pin for pin in locked()}

    asked = [
        (name, wanted)
        for name, pin in pins.items()
        for wanted in map(Requirement, distribution(name).requires or [])
        if wanted.extras
        and any(wanted.marker is None or wanted.marker.evaluate({"extra": extra}) for extra in ["", *pin.extras])
    ]

    assert asked, "nothing to look at"
    assert not [
        f"{name} asks for {wanted}, locked as {pins[canonicalize_name(wanted.name)]}"
        for name, wanted in asked
        if not wanted.extras <= pins[canonicalize_name(wanted.name)].extras
    ]
