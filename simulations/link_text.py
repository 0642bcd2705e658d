"""How people say what a link does, read and written: `delay 20ms jitter 5ms, loss 30% in bursts of 5 and mtu 1280`.

    delay 20ms | delay between 10ms and 40ms | delay about 20ms give or take 5ms | delay 20ms with a long tail up to 2s
    jitter 5ms                     evenly added to the delay
    loss 2% | loss 30% in bursts of 5
    duplicate 1%                   arrives twice
    reorder 5% by 50ms             held back, so that later ones overtake
    corrupt 1%                     some bits turned
    rate 2Mbit/s queue 200ms       or: queue 64KiB
    mtu 1280                       longer ones vanish
    flap 3s up 1s down             comes and goes, each time about so long
    spike to 500ms every 20s lasting 1s
    cut                            nothing passes; then nothing else can be said

Commas and `and` may stand between rules, each rule once. Pure text: what is read are the changed fields of a
`links.Link`; what is written of a link is read as the same link. Where a line stands is told by who reads the file.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from identity.errors import Refused
from simulations.links import Even, Flap, Link, LongTail, Normal, Spike, percent, seconds

TIME = r"(\d+(?:\.\d+)?(?:e-?\d+)?)(ms|s|m)"
_PERCENT = r"(\d+(?:\.\d+)?(?:e-?\d+)?)%"
_NUMBER = r"(\d+(?:\.\d+)?(?:e[-+]?\d+)?)"
_RATE = rf"(?:rate )?{_NUMBER} ?(bit|kbit|Mbit|Gbit)/s"
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}
_BITS = {"bit": 1, "kbit": 1_000, "Mbit": 1_000_000, "Gbit": 1_000_000_000}
_BYTES = {"B": 1, "kB": 1000, "KiB": 1 << 10, "MB": 1_000_000, "MiB": 1 << 20}

DEFAULT_QUEUE_S = 0.1
DEFAULT_LATE_S = 0.05

Fields = dict[str, Any]


def read_rules(text: str) -> Fields:
    """The fields of a `Link` that `text` sets. Raises `Refused` saying what is wrong and what would be right."""
    rest = " ".join(text.split())
    if not rest:
        raise Refused("a link without a rule", next_step=f"say for example: {EXAMPLES['delay']}, {EXAMPLES['loss']}")
    said: dict[str, str] = {}
    found: Fields = {}
    while rest:
        name, words, changes = _first(rest)
        if name in said:
            raise Refused(
                f"{said[name]!r} and {words!r} contradict each other", next_step=f"say {name} once for one link"
            )
        said[name] = words
        found.update(changes)
        rest = re.sub(r"^(,? and |, ?| )", "", rest[len(words) :])
    if "cut" in said and len(said) > 1:
        other = next(words for name, words in said.items() if name != "cut")
        raise Refused(
            f"a link that is cut has no {other!r}", next_step="leave out `cut`, or everything but `cut`"
        )  # what is under way still arrives: by the rules of before
    Link(**found)  # contradictions between rules
    return found


def as_link(said: Any) -> Link:
    """A link of what may be said of one: rules in words, a `Link`, or None for the ordinary one. Raises `Refused`."""
    if isinstance(said, str):
        return Link(**read_rules(said))
    if said is not None and not isinstance(said, Link):
        raise Refused(f"{said!r} is no rule of a link", next_step=f"say for example: {EXAMPLES['delay']}")
    return said or Link()


def say_link(link: Link) -> str:
    """What is said of a link beyond the ordinary one; "ordinary" when nothing is. Read again, it is the same link."""
    return say_rules(link.differences()) or "ordinary"


def say_rules(fields: Mapping[str, Any]) -> str:
    """The prose of changed fields, in the order in which a wire applies them."""
    return ", ".join(words for words in (_SAYS[name](fields) for name in EXAMPLES) if words)


def read_seconds(number: str, unit: str) -> float:
    """Seconds of the two groups of `TIME`. Milliseconds are divided, so that 20ms is 0.02 to the bit."""
    return float(number) / 1000 if unit == "ms" else float(number) * _UNITS[unit]


# -- reading


def _first(rest: str) -> tuple[str, str, Fields]:
    """The rule with which `rest` begins: its name, its words, and what it sets."""
    for name, pattern, make in _RULES:
        match = re.match(rf"{pattern}(?=$|,| )", rest)
        if match is not None:
            return name, match[0], make(*match.groups())
    word = rest.split()[0].strip(",")
    if word == "queue":
        raise Refused("a queue without a rate is never full", next_step=f"say for example: {EXAMPLES['rate']}")
    if re.fullmatch(r"\d+(\.\d+)*", word):
        right = f"link {word} > OTHER {EXAMPLES['loss']}, or: links of {word} {EXAMPLES['loss']}"
        raise Refused(f"{word} is one server, and a link is between two", next_step=f"write for example: {right}")
    known = _ALIASES.get(word, word)
    if known not in EXAMPLES:
        near = difflib.get_close_matches(word, [*EXAMPLES, *_ALIASES], n=1)
        known = _ALIASES.get(near[0], near[0]) if near else ""
        guess = f"did you mean: {EXAMPLES[known]}" if known else f"there are {', '.join(EXAMPLES)}"
        raise Refused(f"{word!r} is no rule of a link", next_step=guess)
    part = " ".join(rest.split()[:4])
    raise Refused(f"{part!r} cannot be read", next_step=f"write for example: {EXAMPLES[known]}")


def _delay(*groups: str | None) -> Fields:
    times = [read_seconds(number, unit) for number, unit in _pairs(groups)]
    return {"delay": times[0]}


def _between(*groups: str | None) -> Fields:
    least, most = (read_seconds(number, unit) for number, unit in _pairs(groups))
    return {"delay": Even(least, most)}


def _about(*groups: str | None) -> Fields:
    mean, deviation = (read_seconds(number, unit) for number, unit in _pairs(groups))
    return {"delay": Normal(mean, deviation)}


def _long_tail(*groups: str | None) -> Fields:
    times = [read_seconds(number, unit) for number, unit in _pairs(groups)]
    return {"delay": LongTail(*times)}


def _loss(chance: str, burst: str | None) -> Fields:
    return {"loss": float(chance) / 100, "burst": float(burst) if burst else 1.0}


def _reorder(chance: str, number: str | None, unit: str | None) -> Fields:
    by = read_seconds(number, unit) if number and unit else DEFAULT_LATE_S
    if not by:
        raise Refused("what is held back by 0s is not reordered", next_step=f"say for example: {EXAMPLES['reorder']}")
    return {"reorder": float(chance) / 100, "reorder_by": by}


def _rate(
    number: str, unit: str, time: str | None, time_unit: str | None, size: str | None, size_unit: str | None
) -> Fields:
    rate = float(number) * _BITS[unit]
    queue = DEFAULT_QUEUE_S
    if time and time_unit:
        queue = read_seconds(time, time_unit)
    elif size and size_unit and rate:
        queue = float(size) * _BYTES[size_unit] * 8 / rate
    return {"rate": rate, "queue": queue}


def _flap(*groups: str | None) -> Fields:
    up, down = (read_seconds(number, unit) for number, unit in _pairs(groups))
    return {"flap": Flap(up, down)}


def _spike(*groups: str | None) -> Fields:
    to, every, lasting = (read_seconds(number, unit) for number, unit in _pairs(groups))
    return {"spike": Spike(to, every, lasting)}


def _pairs(groups: tuple[str | None, ...]) -> list[tuple[str, str]]:
    given = [each for each in groups if each is not None]
    return list(zip(given[::2], given[1::2], strict=True))


# A rule's name, how it begins a text, and what it sets; of two that could be meant the longer stands first.
_RULES: tuple[tuple[str, str, Callable[..., Fields]], ...] = (
    ("delay", rf"delay between {TIME} and {TIME}", _between),
    ("delay", rf"delay about {TIME},? give or take {TIME}", _about),
    ("delay", rf"delay {TIME} with a long tail(?: up to {TIME})?", _long_tail),
    ("delay", rf"delay {TIME}", _delay),
    ("jitter", rf"jitter {TIME}", lambda *groups: {"jitter": read_seconds(*groups)}),
    ("loss", rf"(?:loss|loses) {_PERCENT}(?: in bursts of {_NUMBER})?", _loss),
    ("duplicate", rf"duplicates? {_PERCENT}", lambda chance: {"duplicate": float(chance) / 100}),
    ("reorder", rf"reorders? {_PERCENT}(?: by {TIME})?", _reorder),
    ("corrupt", rf"corrupts? {_PERCENT}", lambda chance: {"corrupt": float(chance) / 100}),
    ("rate", rf"{_RATE}(?:,? (?:with a )?queue (?:of )?(?:{TIME}|{_NUMBER} ?(B|kB|KiB|MB|MiB)))?", _rate),
    ("mtu", r"(?:mtu|MTU) (\d+)", lambda size: {"mtu": int(size)}),
    ("flap", rf"flaps? {TIME} up,? (?:and )?{TIME} down", _flap),
    ("spike", rf"spikes? to {TIME} every {TIME} lasting {TIME}", _spike),
    ("cut", r"cut", lambda: {"cut": True}),
)

# One line for each rule, in the order in which they are said.
EXAMPLES = {
    "delay": "delay 20ms",
    "jitter": "jitter 5ms",
    "loss": "loss 2%",
    "duplicate": "duplicate 1%",
    "reorder": "reorder 5% by 50ms",
    "corrupt": "corrupt 1%",
    "rate": "rate 2Mbit/s queue 200ms",
    "mtu": "mtu 1280",
    "flap": "flap 3s up 1s down",
    "spike": "spike to 500ms every 20s lasting 1s",
    "cut": "cut",
}
_ALIASES = {
    "loses": "loss", "duplicates": "duplicate", "reorders": "reorder", "corrupts": "corrupt", "MTU": "mtu",
    "flaps": "flap", "spikes": "spike", "latency": "delay", "drop": "loss", "bandwidth": "rate", "dup": "duplicate",
    "corruption": "corrupt", "duplication": "duplicate", "reordering": "reorder",
}  # fmt: skip


# -- writing


def _say_delay(fields: Mapping[str, Any]) -> str:
    if "delay" not in fields:
        return ""
    delay = fields["delay"]
    return f"delay {seconds(delay) if isinstance(delay, float | int) else delay}"


def _say_loss(fields: Mapping[str, Any]) -> str:
    if "loss" not in fields:
        return ""
    burst = fields.get("burst", 1.0)
    return f"loss {percent(fields['loss'])}" + (f" in bursts of {burst:.12g}" if burst != 1 else "")


def _say_reorder(fields: Mapping[str, Any]) -> str:
    if "reorder" not in fields:
        return ""
    return f"reorder {percent(fields['reorder'])} by {seconds(fields.get('reorder_by', DEFAULT_LATE_S))}"


def _say_rate(fields: Mapping[str, Any]) -> str:
    rate = fields.get("rate", math.inf)
    if rate == math.inf:
        return ""
    unit = next(unit for unit in ("Gbit", "Mbit", "kbit", "bit") if rate >= _BITS[unit] or unit == "bit")
    return f"rate {rate / _BITS[unit]:.12g}{unit}/s queue {seconds(fields.get('queue', DEFAULT_QUEUE_S))}"


def _say(name: str, written: Callable[[Any], str]) -> Callable[[Mapping[str, Any]], str]:
    return lambda fields: f"{name} {written(fields[name])}" if fields.get(name) is not None else ""


_SAYS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "delay": _say_delay,
    "jitter": _say("jitter", seconds),
    "loss": _say_loss,
    "duplicate": _say("duplicate", percent),
    "reorder": _say_reorder,
    "corrupt": _say("corrupt", percent),
    "rate": _say_rate,
    "mtu": _say("mtu", str),
    "flap": _say("flap", str),
    "spike": _say("spike", str),
    "cut": lambda fields: "cut" if fields.get("cut") else "",
}
