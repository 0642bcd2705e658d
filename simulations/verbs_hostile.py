"""Verbs of hostile peers: what a server does that was taken over."""

from __future__ import annotations

from simulations.steps import Verb

VERBS: tuple[Verb, ...] = ()
