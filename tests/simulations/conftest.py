"""A directory as users of the plugin have one."""

from __future__ import annotations

import pytest


@pytest.fixture
def users(pytester: pytest.Pytester) -> pytest.Pytester:
    """A user's directory: no settings of ours."""
    pytester.makefile(".ini", pytest="[pytest]\nsimulation_twice = 0\n")
    return pytester
