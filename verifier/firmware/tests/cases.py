"""A device says of the proofs of a corpus what is said there: cases.py CIRCLET FOLDER BOARD PORT [KIND...]

Sends one forged proof for each reason, one more for what is said of turns, and the honest ones that are not large, or all
cases if CIRCLET_CASES is "all". KINDs are beginnings of keys' files, if the device is not to have others. Files that cannot be
used never reach a device, and one with a proof under another key than the one that it names is judged under that.
"""

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import time

circlet, folder, board, port = shlex.split(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3], sys.argv[4]
kinds = tuple(kind.encode() for kind in sys.argv[5:])
HEADER, DIGEST = 42, 32
LARGE = 1 << 18


def fail(case, *said):
    sys.exit(f"firmware-test: {board}: {case['proof']}: expected {case['reason'] or 'accepted'}; {said}")


def send(case):
    command = [*circlet, "send", str(folder / case["proof"]), "--port", port, "--patience", "100", "--json"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    if done.returncode not in (0, 1):
        fail(case, done.returncode, done.stderr)
    report = json.loads(done.stdout)
    # A message of the device has room for the beginning of a long reason.
    reason = report["reason"]
    if reason.endswith("...") and (case["reason"] or "").startswith(reason[:-3]):
        report["reason"] = case["reason"]
    expected = (0, True, "the proof is valid") if case["ok"] else (1, False, case["reason"])
    if (done.returncode, report["accepted"], report["reason"]) != expected:
        fail(case, done.returncode, report)


def judged(case):
    """Whether a device gets to judge this as it is meant."""
    if case["refused"] not in (None, "proof") or not (folder / case["key"]).read_bytes().startswith(kinds or b""):
        return False
    named = (folder / case["proof"]).read_bytes()[HEADER:][:DIGEST]
    return len(named) == DIGEST and not (case["reason"] or "").startswith("the proof is for the key ")


def kind(reason):
    """What a reason says, of whatever numbers, of a proof alone or of one of a conversation's turns."""
    return re.sub(r"[0-9]+", "0", re.sub(r"^turn [0-9]+: ", "", reason or ""))


start = time.monotonic()
cases = [case for case in json.loads((folder / "cases.json").read_text()) if judged(case)]
# What is sent for a reason is the smallest file that has it.
cases.sort(key=lambda case: (folder / case["proof"]).stat().st_size)
reasons, turns, sent = set(), False, 0
for case in cases:
    large = (folder / case["proof"]).stat().st_size > LARGE
    turn = (case["reason"] or "").startswith("turn ")
    known = kind(case["reason"]) in reasons and (turns or not turn)
    if (large if case["ok"] else known) and os.environ.get("CIRCLET_CASES") != "all":
        continue
    send(case)
    sent += 1
    if not case["ok"]:
        reasons.add(kind(case["reason"]))
        turns |= turn
if len(reasons) < 15 or sent == len(reasons):
    sys.exit(f"firmware-test: {board}: only {len(reasons)} reasons in {sent} of {len(cases)} cases")
seconds = time.monotonic() - start
print(f"{board}: {sent} of {len(cases)} cases with {len(reasons)} reasons, as expected, in {seconds:.0f} s")
