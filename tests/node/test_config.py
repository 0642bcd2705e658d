"""The file says who the server is; a wrong line is named before anything is opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from identity.errors import Refused
from identity.names import Pattern, ServerId
from node.config import Config, parse_config, read_config, render_config, write_config

PIN = "1#" + "abcdefgh" * 4
SMALL = f'[server]\nid = "1.2"\n[mesh]\nroots = ["{PIN}"]\n'


def test_the_smallest_file_names_the_server_and_its_root() -> None:
    config = parse_config(SMALL)
    assert config == Config(server=ServerId.parse("1.2"), roots=(PIN,))
    assert config.connect == Pattern("*")
    assert config.local is None


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    config = Config(
        server=ServerId.parse("1.2.3"),
        roots=(PIN, PIN.replace("1#", "2.7#")),
        name='Europe "north"',
        secret=bytes(range(32)),
        local=Pattern("*"),
        listen=("127.0.0.1", 7002),
        announce=(("::1", 7002), ("203.0.113.9", 7)),
        http=("127.0.0.1", 8002),
        connect=Pattern("1.*,-1.3"),
        addresses={ServerId.parse("1"): (("127.0.0.1", 7001),), ServerId.parse("1.10"): (("10.0.0.1", 9),)},
        mirrors=(Pattern("1.3"), Pattern("1.4.*")),
        modify=None,
        query=Pattern("1.*"),
    )
    path = tmp_path / "bangpath.toml"
    write_config(path, config)
    assert read_config(path) == config
    assert parse_config(render_config(config)) == config


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (SMALL + "[listen]\nudp = 7\n", 6, "must be an address"),
        (SMALL + '[listen]\nudp = "localhost:7"\n', 6, "is no address"),
        (SMALL + '[listen]\nudp = "127.0.0.1:70000"\n', 6, "no port of 0 to 65535"),
        (SMALL + '[listen]\nhttp = "0.0.0.0:80"\n', 6, "is not loopback"),
        (SMALL + '[listen]\nannounce = ["1.2.3.4:0"]\n', 6, "port 0"),
        (SMALL + '[listen]\nupd = "127.0.0.1:1"\n', 6, "is no key of [listen]"),
        (SMALL + "[lisen]\n", 5, "is no section"),
        (SMALL + '[peers]\n\n[peers.addresses]\n"0" = []\n', 7, "1 to 2^63-1"),
        (SMALL + '[peers]\nconnect = "1..2"\n', 6, "no server id"),
        (SMALL + '[mirror]\npatterns = "1"\n', 6, "must be a list"),
        (SMALL + '[rights]\nmodify = "x"\n', 6, "no server id"),
        ('[server]\nid = "1.02"\n', 2, "no server id"),
        ('[server]\nid = "1"\n[mesh]\nroots = []\n', 4, "at least one root"),
        ('[server]\nid = "1"\n[mesh]\nroots = ["1"]\n', 4, "is no root"),
        (SMALL + 'secret = "12"\n', 5, "has 1 bytes"),
        (SMALL + 'secret = "zz"\n', 5, "hexadecimal"),
        ("server = 1\n", 1, "is a section"),
    ],
)
def test_a_wrong_line_is_named(text: str, line: int, said: str) -> None:
    with pytest.raises(Refused, match=r"bangpath\.toml, line") as caught:
        parse_config(text)
    assert said in caught.value.cause
    assert caught.value.details["line"] == line
    assert caught.value.next_step


def test_text_that_is_not_toml_names_the_line() -> None:
    with pytest.raises(Refused, match="line 2"):
        parse_config('[server]\nid = "1\n')


@pytest.mark.parametrize("text", [SMALL.partition("[mesh]")[1] + SMALL.partition("[mesh]")[2], '[server]\nid = "1"\n'])
def test_what_is_needed_must_be_there(text: str) -> None:
    with pytest.raises(Refused, match="is missing"):
        parse_config(text)


def test_a_file_that_is_not_there_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="bangpath init"):
        read_config(tmp_path / "bangpath.toml")
    (tmp_path / "bangpath.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(Refused, match="not UTF-8"):
        read_config(tmp_path / "bangpath.toml")
    (tmp_path / "bangpath.toml").write_bytes(b"#" * (2 << 20))
    with pytest.raises(Refused, match="allowed"):
        read_config(tmp_path / "bangpath.toml")
