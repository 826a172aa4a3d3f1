// Verdicts on files that are there.

import assert from "node:assert/strict";
import { test } from "node:test";
import { runInNewContext } from "node:vm";

import { verify } from "circlet-wasm";

import { cases, file, has, said } from "./fixtures.js";

const key = file("tiny.vk");
const proof = file("tiny.proof");

function refused(verdict, part, reason) {
  assert.equal(verdict.ok, false);
  assert.equal(verdict.refused, part);
  assert.match(verdict.reason, reason);
  assert.equal(verdict.statement, null);
  assert.equal(verdict.bounds, null);
}

test("verdicts, reasons and statements are those of the corpus", () => {
  for (const { key, proof, ok, refused, reason, says } of cases) {
    const verdict = verify(file(key), file(proof));
    assert.deepEqual([verdict.ok, verdict.refused, verdict.reason], [ok, refused, reason], proof);
    if (ok) {
      const { digest, model } = verdict.key;
      assert.deepEqual({ key: digest, model, ...said(verdict.statement) }, says, proof);
      assert.equal(verdict.bounds, "trusted", proof);
    } else {
      assert.deepEqual([verdict.statement, verdict.bounds], [null, null], proof);
    }
  }
});

test("every kind of statement is among them", () => {
  const kinds = cases.filter((c) => c.ok).map((c) => verify(file(c.key), file(c.proof)).statement.kind);
  for (const kind of ["program", "text", "chat", "encoding"]) assert.ok(kinds.includes(kind), kind);
});

test("tensors of a program have names, extents and scales", () => {
  const { inputs, outputs, lists } = verify(file("digits.vk"), file("digits.proof")).statement;
  const [input, output] = [inputs[0], outputs[0]];
  assert.equal(input.rows * input.cols, 64);
  assert.equal(input.values.length, 64);
  assert.equal(output.values.length, 10);
  assert.ok(input.name && output.name && Number.isInteger(input.fractionBits));
  assert.ok(input.values instanceof Int32Array);
  assert.deepEqual(lists, []);
});

test("a large model's proof", { skip: !has("smollm2.proof") && "no smollm2 among the fixtures" }, () => {
  const verdict = verify(file("smollm2.vk"), file("smollm2.proof"));
  assert.equal(verdict.ok, true, verdict.reason);
  assert.equal(verdict.statement.kind, "text");
});

test("a flipped bit anywhere in a file is found", () => {
  const honest = file("digits.proof");
  for (let i = 0; i < 60; i++) {
    const changed = honest.slice();
    const at = i < 45 ? i : Math.floor((i * 7919 * 104729) % honest.length);
    changed[at] ^= 1 << i % 8;
    const verdict = verify(file("digits.vk"), changed);
    refused(verdict, "file", /no file that circlet wrote|was expected|format version|damaged|cut short/);
  }
  const changed = file("digits.vk");
  changed[500] ^= 4;
  refused(verify(changed, honest), "key", /^cannot use the key: .*damaged/);
});

test("files that are cut short", () => {
  for (const length of [0, 1, 7, 8, 9, 41, 42, 43, 74, 100, 1000, proof.length - 1]) {
    const verdict = verify(key, proof.subarray(0, length));
    refused(verdict, "file", length ? /^cannot use the proof: the file is (cut short|damaged)/ : /the file is empty/);
    refused(verify(key.subarray(0, Math.min(length, key.length - 1)), proof), "key", /^cannot use the key: /);
  }
  refused(verify(key, new Uint8Array([...proof, 0])), "file", /damaged/);
});

test("files in each other's place, and of other models", () => {
  refused(verify(proof, key), "key", /this is a proof of a text \(\.proof\); a verifying key \(\.vk\) was expected/);
  refused(verify(key, key), "file", /this is a language model's verifying key/);
  refused(verify(proof, proof), "key", /was expected/);
  refused(verify(file("digits.vk"), proof), "file", /this is a proof of a text/);
  refused(verify(file("bert.vk"), proof), "file", /this is a proof of a text/);
  refused(verify(key, file("digits.proof")), "file", /this is a proof \(\.proof\)/);
  refused(verify(key, file("tiny.circlet")), "file", /compiled language model/);
  refused(verify(key, new TextEncoder().encode("<!doctype html>")), "file", /no file that circlet wrote/);
  refused(verify(new Uint8Array(5000), proof), "key", /no file that circlet wrote/);
});

test("the key is there wherever it can be used", () => {
  const digest = verify(key, proof).key.digest;
  assert.match(digest, /^[0-9a-f]{64}$/);
  assert.equal(verify(key, new Uint8Array()).key.digest, digest);
  assert.equal(verify(key.subarray(1), proof).key, null);
});

test("a registration", () => {
  for (const name of ["tiny", "bert"]) {
    const [key, proof, registration] = ["vk", "proof", "reg"].map((end) => file(`${name}.${end}`));
    const verdict = verify(key, proof, { registration });
    assert.equal(verdict.ok, true, verdict.reason);
    assert.equal(verdict.bounds, "registered");
    const changed = registration.slice();
    changed[changed.length >> 1] ^= 1;
    refused(verify(key, proof, { registration: changed }), "registration", /^the registration: .*damaged/);
    refused(verify(key, proof, { registration: proof }), "registration", /a registration \(\.reg\) was expected/);
    refused(verify(key, proof, { registration: new Uint8Array() }), "registration", /empty/);
  }
  const registration = file("bert.reg");
  refused(verify(key, proof, { registration }), "registration", /^the registration: .* for the key/);
  // A proof that is wrong is refused for what is wrong with it.
  refused(verify(key, file("tiny-last.proof"), { registration: file("tiny.reg") }), "proof", /./);
  assert.equal(verify(key, proof, { registration: undefined }).bounds, "trusted");
  assert.equal(verify(key, proof, null).bounds, "trusted");
});

test("files that are too long are refused unread", () => {
  const long = new Uint8Array(2 ** 28 + 1);
  long.set(proof);
  refused(verify(key, long), "file", /more than 268435456 bytes/);
  const longKey = long.subarray(0, 2 ** 26 + 1);
  longKey.set(key);
  refused(verify(longKey, proof), "key", /more than 67108864 bytes/);
});

test("arguments of other types are errors of the caller", () => {
  const wrong = [undefined, null, 1, "CIRCLETV", [1, 2], {}, new ArrayBuffer(8), new Uint16Array(4), new DataView(new ArrayBuffer(8))];
  for (const value of wrong) {
    assert.throws(() => verify(value, proof), TypeError);
    assert.throws(() => verify(key, value), TypeError);
    if (value) assert.throws(() => verify(key, proof, { registration: value }), TypeError);
  }
  assert.throws(() => verify(key, proof, 1), TypeError);
});

test("bytes may be part of something larger, and come from another context", () => {
  const buffer = Buffer.concat([Buffer.from("xyz"), proof, Buffer.from("xyz")]);
  assert.equal(verify(Buffer.from(key), buffer.subarray(3, -3)).ok, true);
  const foreign = runInNewContext("new Uint8Array(bytes)", { bytes: Array.from(proof) });
  assert.equal(foreign instanceof Uint8Array, false);
  assert.equal(verify(key, foreign).ok, true);
  const shared = new Uint8Array(new SharedArrayBuffer(proof.length));
  shared.set(proof);
  assert.equal(verify(key, shared).ok, true);
});

test("nothing is left from one call to the next", () => {
  for (let i = 0; i < 20; i++) {
    assert.equal(verify(key, proof.subarray(0, 500 * i)).ok, false);
    assert.equal(verify(key, proof).ok, true);
  }
});
