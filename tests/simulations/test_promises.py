"""What is said of a broken promise can be read."""

from __future__ import annotations

from simulations.promises import PromiseBroken


def test_a_field_of_many_bytes_does_not_push_everything_else_off_the_screen() -> None:
    fields = {"text": "1.1 says 7 " + "ab" * 10_000, "short": "x" * 100}
    said = str(PromiseBroken("P1", "no lost commits", 2.5, f"1.1 lost 1.1/67: {fields}; found nothing"))
    assert said.startswith("P1 broken (no lost commits) at 2.500 s: 1.1 lost 1.1/67: {'text': '1.1 says 7 abab")
    assert "abab...(20000 characters)', 'short': '" + "x" * 100 in said
    assert said.endswith("found nothing")
    assert len(said) < 300
