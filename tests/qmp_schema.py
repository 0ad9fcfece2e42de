#!/usr/bin/env python3
"""QEMU judges our QMP schema: every command, event and option that we have must be one of QEMU's, with arguments of its names and types.

Usage: tests/qmp_schema.py PROGRAM
"""

import json
import shutil
import subprocess
import sys
import unittest

PROGRAM = sys.argv[1]
QEMU = shutil.which("qemu-system-x86_64")

# Newer than the QEMU that Debian 12 has, or ours alone.
NEWER = {"acpi"}
OWN = {"memory", "x-query-screen"}  # a block driver and a command that only menura has


def ask(program, *commands):
    """The replies of a program without a guest."""
    lines = [{"execute": "qmp_capabilities"}, *({"execute": c} for c in commands), {"execute": "quit"}]
    with subprocess.Popen([program, "-S", "-machine", "none", "-nodefaults", "-display", "none", "-qmp", "stdio", "-monitor", "none"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        process.stdin.write("".join(json.dumps(line) + "\n" for line in lines))
        process.stdin.flush()
        replies = []
        while len(replies) < len(commands) + 1:
            message = json.loads(process.stdout.readline())
            if "return" in message:
                replies.append(message["return"])
        process.stdin.close()
        process.stdout.read()
        process.wait(60)
    return replies[1:]


class Schema:
    def __init__(self, entries):
        self.entries = {(e["meta-type"] in ("command", "event"), e["name"]): e for e in entries}
        assert len(self.entries) == len(entries), "names are not unique"

    def top(self, kind):
        return {name: e for (is_top, name), e in self.entries.items() if is_top and e["meta-type"] == kind}

    def type(self, name):
        return self.entries[False, name]

    def members(self, name):
        entry = self.type(name)
        return {m["name"]: m for m in entry.get("members", [])} if entry["meta-type"] == "object" else {}


def differences(ours, our_name, theirs, their_name, path, seen):
    """Where a type of ours is not one that QEMU would give or take."""
    if (our_name, their_name) in seen:
        return
    seen.add((our_name, their_name))
    a, b = ours.type(our_name), theirs.type(their_name)
    if a["meta-type"] == "builtin" and a["name"] == "any":
        return  # said less
    if b["meta-type"] == "alternate" or (b["meta-type"] == "builtin" and b["name"] == "any"):
        return
    if a["meta-type"] != b["meta-type"]:
        yield f"{path}: {a['meta-type']}, not {b['meta-type']}"
    elif a["meta-type"] == "builtin" and a["json-type"] != b["json-type"]:
        yield f"{path}: {a['json-type']}, not {b['json-type']}"
    elif a["meta-type"] == "enum":
        for value in set(a["values"]) - set(b["values"]) - OWN:
            yield f"{path}: value {value} is not QEMU's"
    elif a["meta-type"] == "array":
        yield from differences(ours, a["element-type"], theirs, b["element-type"], path + "[]", seen)
    elif a["meta-type"] == "object":
        their_members = theirs.members(their_name)
        variants = [theirs.members(v["type"]) for v in b.get("variants", [])]
        for name, member in ours.members(our_name).items():
            found = [m[name] for m in (their_members, *variants) if name in m]
            if not found:
                if name not in NEWER:
                    yield f"{path}.{name}: QEMU has no such member"
            elif len(found) == 1:
                yield from differences(ours, member["type"], theirs, found[0]["type"], f"{path}.{name}", seen)
        for variant in a.get("variants", []):
            their = next((v for v in b.get("variants", []) if v["case"] == variant["case"]), None)
            if their is None:
                yield f"{path}: variant {variant['case']} is not QEMU's"


class SchemaTest(unittest.TestCase):
    def test_the_schema_is_whole(self):
        entries, commands = ask(PROGRAM, "query-qmp-schema", "query-commands")
        schema = Schema(entries)
        self.assertEqual(set(schema.top("command")), {c["name"] for c in commands})
        for entry in entries:
            for key in ("arg-type", "ret-type", "element-type"):
                if key in entry:
                    schema.type(entry[key])
            for member in entry.get("members", []) if entry["meta-type"] == "object" else []:
                schema.type(member["type"])
            if "tag" in entry:
                tag = schema.type(schema.members(entry["name"])[entry["tag"]]["type"])
                self.assertEqual({v["case"] for v in entry["variants"]}, set(tag["values"]))

    @unittest.skipUnless(QEMU, "qemu-system-x86_64 is not installed")
    def test_qemu_knows_all_of_it(self):
        ours, theirs = (Schema(ask(program, "query-qmp-schema")[0]) for program in (PROGRAM, QEMU))
        self.assertEqual(set(ours.top("event")) - set(theirs.top("event")), set())
        self.assertEqual(set(ours.top("command")) - set(theirs.top("command")) - OWN, set())
        wrong = []
        for kind in ("command", "event"):
            for name, entry in ours.top(kind).items():
                if name not in theirs.top(kind):
                    continue
                for part in ("arg-type", "ret-type"):
                    if part in entry:
                        wrong += differences(ours, entry[part], theirs, theirs.top(kind)[name][part], f"{name} {part}", set())
        self.assertEqual(wrong, [])

    @unittest.skipUnless(QEMU, "qemu-system-x86_64 is not installed")
    def test_required_arguments_are_qemus(self):
        ours, theirs = (Schema(ask(program, "query-qmp-schema")[0]) for program in (PROGRAM, QEMU))
        for name, entry in ours.top("command").items():
            if name not in theirs.top("command"):
                continue
            mine = {m for m, e in ours.members(entry["arg-type"]).items() if "default" not in e}
            needed = {m for m, e in theirs.members(theirs.top("command")[name]["arg-type"]).items() if "default" not in e}
            self.assertEqual(mine, needed, name)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]])
