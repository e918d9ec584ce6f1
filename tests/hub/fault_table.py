"""The table of docs/hub.md: each fault on each route, and what came of it.

`python -m tests.hub.fault_table` measures and prints it; `--write` puts it into docs/hub.md. Waits are shortened, which
changes no outcome: the limits themselves are in the text above the table.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from tests.hub.server import RunningHub
from tests.hub.talk import Talk

PAGE = Path(__file__).parents[2] / "docs" / "hub.md"
BEGIN, END = "<!-- made by `python -m tests.hub.fault_table --write` -->", "<!-- end -->"
TOKEN = "hf_test_alice"
LASTING = 10_000
FAULTS: dict[str, int | str] = {
    "no answer": "no answer",
    "a byte now and then": "drip",
    "connection reset": "reset",
    "login page of a network (200)": "web page",
    "empty answer": "empty",
    "half a JSON": "half a JSON",
    "JSON that says nothing": "no object",
    "429": 429,
    "502": 502,
    "403": 403,
    "507": 507,
    "412": 412,
    "done, and the answer lost": "lost answer",
}
PUSH = {
    "whoami": "GET .*whoami-v2", "creation": "POST .*repos/create", "preupload": "POST .*/preupload/",
    "LFS batch": "POST .*objects/batch", "LFS PUT": "PUT /_lfs/", "commit": "POST .*/commit/",
    "comparison": "POST .*/paths-info/", "tag": "POST .*/tag/",
}  # fmt: skip
READ = {"information": "GET /api/(models|datasets)/[^/]+/[^/]+(/revision/[^/]+)?$", "listing": "GET .*/tree/",
        "HEAD of a file": "HEAD .*/resolve/", "GET of a file": "GET .*/resolve/"}  # fmt: skip
COLUMNS = ("once", "lasting")


def outcome(done: dict[str, object], hub: RunningHub, id: str) -> str:
    """In a few words."""
    if "code" not in done:
        return "completes"
    repo = hub.store.repos.get(("model", id))
    files = hub.files(id) if repo else {}
    there = "nothing there" if repo is None else "the commit is there" if files else "an empty repository"
    assert set(files) in (set(), {"model.safetensors", "config.json", "README.md"}), files
    return f"exit {done['code']}, {there}"


def pushes(talk: Talk, hub: RunningHub, folder: Path) -> dict[tuple[str, str, str], str]:
    found = {}
    for name, fault in FAULTS.items():
        for route, pattern in PUSH.items():
            for column, times in zip(COLUMNS, (1, LASTING), strict=True):
                id = f"alice/{len(found)}-x"
                (folder / "model.safetensors").write_bytes(id.encode() * 500)  # else the Hub holds it already
                hub.faults.clear()
                hub.faults.plan(pattern, fault, times)
                done = talk.ask(do="push", folder=str(folder), hub={"id": id, "tag": "v1"})
                hub.faults.clear()
                found[name, route, column] = outcome(done, hub, id)
                again = talk.ask(do="push", folder=str(folder), hub={"id": id, "tag": "v1"})
                assert "commit" in again and len(hub.store.repos["model", id].commits) == 2, (name, route, again)
    return found


def reads(talk: Talk, hub: RunningHub, folder: Path, data: Path) -> dict[tuple[str, str, str], str]:
    found = {}
    for name, fault in {**FAULTS, "other bytes of the same size": -1, "cut in the middle": 0}.items():
        if name in ("507", "412", "done, and the answer lost", "JSON that says nothing"):
            continue  # of writing, or harmless
        for route, pattern in READ.items():
            if isinstance(fault, int) and fault < 1 and route != "GET of a file":
                continue
            if route == "GET of a file" and fault == "drip":
                continue  # a slow file is a slow file
            cells = []
            for kind in ("fetch", "data"):
                for column, times in (("once", 1), ("lasting", LASTING), ("cached", LASTING)):
                    id = f"bob/{kind}{len(found)}-{column}"
                    hub.faults.clear()
                    (hub.seed_model if kind == "fetch" else hub.seed_dataset)(id, folder if kind == "fetch" else data)
                    if column == "cached":
                        assert "code" not in talk.ask(do=kind, id=id)
                    hub.faults.plan(pattern, fault, times)
                    done = talk.ask(do=kind, id=id)
                    used = "the copy in the cache is used" in str(done["err"])
                    result = f"exit {done['code']}" if "code" in done else "the cache is used" if used else "completes"
                    cells.append((column, result))
            for column in ("once", "lasting", "cached"):
                results = list(dict.fromkeys(result for each, result in cells if each == column))
                both = results[0] if len(results) == 1 else f"model: {results[0]}; data: {results[1]}"
                found[name, route, column] = both
    return found


def rows(found: dict[tuple[str, str, str], str], columns: tuple[str, ...]) -> list[str]:
    """Routes that come to the same share a line."""
    out = []
    for name in dict.fromkeys(name for name, _, _ in found):
        routes = list(dict.fromkeys(route for other, route, _ in found if other == name))
        groups: dict[tuple[str, ...], list[str]] = {}
        for route in routes:
            groups.setdefault(tuple(found[name, route, column] for column in columns), []).append(route)
        for results, members in groups.items():
            where = "all" if len(members) == len(routes) > 1 else ", ".join(members)
            out.append(f"| {name} | {where} | {' | '.join(results)} |")
    return out


def table() -> str:
    with tempfile.TemporaryDirectory() as scratch:
        top = Path(scratch)
        folder, data = top / "model", top / "data"
        folder.mkdir()
        data.mkdir()
        (folder / "model.safetensors").write_bytes(bytes(range(256)) * 40)
        (folder / "config.json").write_text('{"model_type": "bert"}')
        (folder / "README.md").write_text("# A model\n")
        (data / "train.csv").write_text("text,label\n" + "good,1\nbad,0\n" * 200)
        hub = RunningHub(top / "hub")
        talk = Talk(hub.env(TOKEN), answer=0.4, effect=0.4, stall=0.4, total=0.6, in_all=1.0)
        try:
            written, read = pushes(talk, hub, folder), reads(talk, hub, folder, data)
        finally:
            talk.close()
            hub.stop()
    head = ["Pushing (with a tag, to a repository that is not there yet):", "",
            "| fault | where | once | lasting |", "|---|---|---|---|"]  # fmt: skip
    middle = ["", "Reading a model or a dataset:", "",
              "| fault | where | once | lasting, cache empty | lasting, cached |", "|---|---|---|---|---|"]  # fmt: skip
    return "\n".join([*head, *rows(written, COLUMNS), *middle, *rows(read, ("once", "lasting", "cached"))])


def main() -> None:
    made = table()
    if "--write" not in sys.argv:
        print(made)
        return
    text = PAGE.read_text(encoding="utf-8")
    new = re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: f"{BEGIN}\n\n{made}\n\n{END}", text, flags=re.S)
    PAGE.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
