"""The library says of every file of the corpus what the command line says: cases.py VERIFY JUDGE FOLDER

VERIFY is the example program, JUDGE is made of judge.c."""

import json
import pathlib
import subprocess
import sys

program, judge, folder = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
# What the library's results are called in cases.json, by what is refused.
RESULTS = {None: 0, "proof": 1, "key": 2, "file": 3}


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
honest = [case for case in cases if case["ok"]]
assert len(honest) >= 10 and len(cases) - len(honest) >= 100, f"only {len(cases)} cases"
paths = "".join(f"{folder / case['key']}\t{folder / case['proof']}\n" for case in cases)
said = subprocess.run([judge], input=paths, capture_output=True, text=True)
assert said.returncode == 0, said.stderr
lines = said.stdout.splitlines()
assert len(lines) == len(cases), (len(lines), len(cases))
for case, line in zip(cases, lines):
    assert line == f"{RESULTS[case['refused']]} {case['reason'] or ''}", (case["proof"], line, case["reason"])

# The example: every statement, and each reason once.
reasons = set()
for case in cases:
    if case["reason"] in reasons:
        continue
    code, lines = run(case["key"], case["proof"])
    name = case["proof"]
    if case["ok"]:
        assert lines[:3] == ["accepted", f"key {case['says']['key']}", "bounds trusted"], (name, lines[:3])
        assert list(printed(lines[3:])) == list(lists(case["says"])), name
        continue
    reasons.add(case["reason"])
    title = "rejected" if case["refused"] == "proof" else "error"
    assert (code, lines) == (1 if case["refused"] == "proof" else 3, [f"{title}: {case['reason']}"]), (name, lines)

for name in ["tiny", "bert"]:
    code, lines = run(f"{name}.vk", f"{name}.proof", f"{name}.reg")
    assert (code, lines[2]) == (0, "bounds registered"), (name, lines)
assert run("tiny.vk", "tiny.proof", "bert.reg")[0] == 1
for files in [("tiny.proof", "tiny.vk"), ("bert.vk", "tiny.proof"), ("tiny.vk", "nothing"), ("tiny.vk", "tiny.proof", "tiny.vk")]:
    code, lines = run(*files)
    assert code == 3 and lines[0].startswith("error: "), (files, code, lines)
assert run()[0] == 2
print(f"cases: {len(cases)} files with the verdicts of the corpus, and {len(reasons)} reasons")
