"""Verbs of work: classes, commits, changes, mirrors, waiting.

1.1 commits 50 Note             one transaction each, one after another
1.1 changes 20 Note             random ones of its own
1.2 mirrors 1.1
"""

from __future__ import annotations

from simulations.steps import ID, NUMBER, SECONDS, Act, Run, Verb, seconds


def _class(name: str, fields: str) -> Act:
    async def act(run: Run) -> str:
        from store.registry import definition_from_toml

        lines = [f'name = "{name}"', "[fields]"]
        for each in fields.split():
            field_name, _, kind = each.partition(":")
            lines.append(f'{field_name} = {{ type = "{kind or "string"}" }}')
        definition = definition_from_toml("\n".join(lines))
        for server in run.world.servers:
            await server.define(definition)
        return ""

    return act


def _mirrors(name: str, other: str) -> Act:
    async def act(run: Run) -> str:
        await run.server(name).mirror(other)
        return ""

    return act


def _commits(name: str, number: str, class_name: str) -> Act:
    async def act(run: Run) -> str:
        server = run.server(name)
        for _ in range(int(number)):
            run.count += 1
            fields = {"text": f"{name} says {run.count}"}
            reference = await server.create(class_name, fields)
            run.objects.setdefault(name, []).append(reference)
            run.texts[reference] = fields
        return f"{len(run.objects[name])} objects of {name}"

    return act


def _changes(name: str, number: str, class_name: str) -> Act:
    async def act(run: Run) -> str:
        server = run.server(name)
        own = run.objects.get(name, [])
        if not own:
            raise AssertionError(f"{name} has no {class_name} to change yet")
        for _ in range(int(number)):
            run.count += 1
            reference = run.world.random.choice(own)
            fields = {"text": f"{name} changed its mind, {run.count}"}
            await server.update(reference, fields)
            run.texts[reference] = fields
        return ""

    return act


def _run(number: str, unit: str) -> Act:
    async def act(run: Run) -> str:
        await run.world.sleep(seconds(number, unit))
        return ""

    return act


VERBS: tuple[Verb, ...] = (
    Verb(r"class (\w+) ((?:\w+:\w+ ?)+)", (), _class, "class Note text:string"),
    Verb(rf"{ID} mirrors {ID}", (1, 2), _mirrors, "1.2 mirrors 1.1"),
    Verb(rf"{ID} commits {NUMBER} (\w+)", (1,), _commits, "1.1 commits 50 Note"),
    Verb(rf"{ID} changes {NUMBER} (\w+)", (1,), _changes, "1.1 changes 20 Note"),
    Verb(rf"run {SECONDS}", (), _run, "run 10s"),
)
