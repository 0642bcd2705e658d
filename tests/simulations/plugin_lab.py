"""What the tests of the plugin share: how files of its users begin, and a test that fails under some seeds."""

from __future__ import annotations

HEAD = "import bangpath, networkx, pytest, trio\nfrom bangpath import simulate\n"

FAILS = (
    HEAD
    + """
@simulate(nodes=1, seeds=6)
async def test_story(mesh):
    await mesh.sleep(1)
    assert mesh.seed not in (3, 5), "a bad seed"
"""
)
