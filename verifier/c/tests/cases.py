"""The example program says of every file what the command line says: cases.py PROGRAM FOLDER"""

import json
import pathlib
import subprocess
import sys

program, folder = sys.argv[1], pathlib.Path(sys.argv[2])


def run(*files):
    done = subprocess.run([program, *(str(folder / file) for file in files)], capture_output=True, text=True)
    return done.returncode, done.stdout.splitlines()


def lists(says):
    """The lines that the program prints of what `circlet verify --json` reports."""
    turns = says.get("turns") or ([says] if "prompt_tokens" in says else [])
    for title, values in [
        ("input", says.get("input_integers", [])),
        ("output", says.get("output_integers", [])),
        ("output", [says["embedding_integers"]] if "embedding_integers" in says else []),
        ("given", [says["tokens"]] if "tokens" in says else []),
        ("given", [turn["prompt_tokens"] for turn in turns]),
        ("generated", [turn["text_tokens"] for turn in turns]),
    ]:
        for numbers in values:
            yield title, numbers


def printed(lines):
    for line in lines:
        title, _, numbers = line.partition(" ")
        yield title, [int(number) for number in numbers.rpartition(") ")[2].split()]


cases = json.loads((folder / "cases.json").read_text())
for case in cases:
    code, lines = run(case["key"], case["proof"])
    name = case["proof"]
    assert code == (0 if case["ok"] else 1), (name, code, lines)
    if case["ok"]:
        assert lines[:3] == ["accepted", f"key {case['says']['key']}", "bounds trusted"], (name, lines[:3])
        assert list(printed(lines[3:])) == list(lists(case["says"])), name
    elif case["reason"] is not None:
        assert lines == [f"rejected: {case['reason']}"], (name, lines)

for name in ["tiny", "bert"]:
    code, lines = run(f"{name}.vk", f"{name}.proof", f"{name}.reg")
    assert (code, lines[2]) == (0, "bounds registered"), (name, lines)
assert run("tiny.vk", "tiny.proof", "bert.reg")[0] == 1
for files in [("tiny.proof", "tiny.vk"), ("bert.vk", "tiny.proof"), ("tiny.vk", "nothing"), ("tiny.vk", "tiny.proof", "tiny.vk")]:
    code, lines = run(*files)
    assert code == 3 and lines[0].startswith("error: "), (files, code, lines)
assert run()[0] == 2
print(f"cases: {len(cases)} files with the verdicts of the command line")
