"""How long a run will take is said before it does, where that is long."""

from __future__ import annotations

import pytest

from simulations.estimate import core_s, lasting, warning


def test_what_is_soon_done_is_not_worth_a_word() -> None:
    assert warning(5, 1.0, limit_s=None) == ""
    assert warning(20, 1.0, limit_s=600.0) == ""


def test_what_takes_long_says_about_how_long() -> None:
    told = warning(100, 0.1, limit_s=None)
    assert (
        told
        == "100 servers for 0.1 virtual min: about 4 min of a core a run, roughly; fewer --nodes or --minutes take less"
    )
    assert "about 3.5 h of a core a run, roughly, a rule that was tried with up to 100" in warning(
        1000, 1.0, limit_s=None
    )


def test_what_will_be_given_up_says_how_it_will_not() -> None:
    told = warning(1000, 1.0, limit_s=600.0)
    assert told.endswith("; it is given up after 600 real s: --limit 25300 gives it more")
    assert "given up" not in warning(100, 0.1, limit_s=600.0)


@pytest.mark.parametrize(
    ("servers", "minutes", "measured_s"),
    [
        (5, 1.0, 3.1),
        (5, 1.0, 3.7),
        (10, 1.0, 4.4),
        (10, 1.0, 13.7),
        (20, 1.0, 20.4),
        (20, 1.0, 78.4),
        (40, 0.1, 130.6),
        (60, 0.1, 156.7),
        (100, 0.1, 212.2),
    ],
)
def test_it_is_right_give_or_take_a_factor_of_three(servers: int, minutes: float, measured_s: float) -> None:
    assert measured_s / 3 <= core_s(servers, minutes) <= measured_s * 3


def test_times_as_people_say_them() -> None:
    assert [lasting(seconds) for seconds in (45.0, 240.0, 12600.0)] == ["45 s", "4 min", "3.5 h"]
