"""No member of the mesh can make the others knock at somebody's printer."""

from __future__ import annotations

import pytest

from identity.names import Pattern, ServerId
from node.dialling import dial_rule

ONE, TWO = ServerId.parse("1"), ServerId.parse("1.2")
CONFIGURED = {TWO: (("10.0.0.2", 7), ("224.0.0.1", 7))}


@pytest.mark.parametrize(
    ("host", "by_itself", "inside_local"),
    [
        ("8.8.8.8", True, True),
        ("2606:4700::1111", True, True),
        ("127.0.0.1", False, True),
        ("::1", False, True),
        ("::ffff:127.0.0.1", False, True),
        ("10.0.0.9", False, True),
        ("192.168.1.1", False, True),
        ("169.254.1.1", False, True),
        ("fe80::1", False, True),
        ("100.64.0.1", False, True),
        ("fd00::1", False, True),
        ("224.0.0.1", False, False),
        ("ff02::1", False, False),
        ("0.0.0.0", False, False),
        ("::", False, False),
        ("255.255.255.255", False, False),
        ("host.example", False, True),
    ],
)
def test_the_table(host: str, by_itself: bool, inside_local: bool) -> None:
    assert dial_rule(None, {})(ONE, (host, 7)) is by_itself
    assert dial_rule(Pattern("1.*"), {})(ONE, (host, 7)) is by_itself
    assert dial_rule(Pattern("*"), {})(ONE, (host, 7)) is inside_local
    assert not dial_rule(Pattern("*"), {})(ONE, (host, 0))


def test_what_the_operator_wrote_is_dialled_unless_it_is_no_host() -> None:
    rule = dial_rule(None, CONFIGURED)
    assert rule(TWO, ("10.0.0.2", 7))
    assert not rule(TWO, ("10.0.0.2", 8))
    assert not rule(ONE, ("10.0.0.2", 7))
    assert not rule(TWO, ("224.0.0.1", 7))
