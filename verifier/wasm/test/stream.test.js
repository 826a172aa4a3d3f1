// Verdicts on proofs that come in pieces.

import assert from "node:assert/strict";
import { test } from "node:test";

import { verify, verifyStream } from "circlet-wasm";

import { cases, file } from "./fixtures.js";

const key = file("tiny.vk");
const proof = file("tiny.proof");

/** A stream of the pieces that a generator gives, and how many were taken and whether it was cancelled. */
function stream(pieces) {
  const seen = { taken: 0, cancelled: false };
  const iterator = pieces[Symbol.iterator]();
  const readable = new ReadableStream(
    {
      pull(controller) {
        const { done, value } = iterator.next();
        if (done) return controller.close();
        seen.taken++;
        controller.enqueue(value);
      },
      cancel() {
        seen.cancelled = true;
      },
    },
    { highWaterMark: 0 },
  );
  return { readable, seen };
}

function* cut(bytes, size) {
  for (let at = 0; at < bytes.length; ) {
    const next = Math.max(0, size(at));
    yield bytes.subarray(at, at + next);
    at += next;
  }
}

test("pieces of any size give the same verdict", async () => {
  const sizes = [() => 1 << 20, () => 4096, () => 1000, () => 41, (at) => (at < 200 ? 1 : 60000), (at) => (at * 7919) % 997];
  for (const size of sizes) {
    // An empty piece now and then is none.
    const some = (at) => size(at) || (Math.random() < 0.5 ? 0 : 1);
    const { readable, seen } = stream(cut(proof, some));
    const verdict = await verifyStream(key, readable);
    assert.deepEqual(verdict, verify(key, proof));
    assert.equal(seen.cancelled, false);
    assert.equal(readable.locked, false);
  }
});

test("every case has the verdict of its bytes, in one piece or many", async () => {
  const reasons = new Set();
  for (const { key, proof, ok, refused, reason } of cases) {
    const bytes = file(proof);
    // The smallest pieces take their time: once for each reason.
    const sizes = reasons.has(reason) ? [1 << 28] : [1 << 28, 7, 1];
    if (bytes.length < 60000) reasons.add(reason);
    for (const size of bytes.length < 60000 ? sizes : [10007]) {
      const { readable } = stream(cut(bytes, () => size));
      const verdict = await verifyStream(file(key), readable);
      assert.deepEqual([verdict.ok, verdict.refused, verdict.reason], [ok, refused, reason], `${proof} in pieces of ${size}`);
    }
  }
});

test("the body of a response", async () => {
  const registration = file("tiny.reg");
  const verdict = await verifyStream(key, new Response(proof).body, { registration });
  assert.equal(verdict.ok, true, verdict.reason);
  assert.equal(verdict.bounds, "registered");
});

test("streams that end early", async () => {
  for (const length of [0, 5, 42, 1000, proof.length - 1]) {
    const { readable } = stream(cut(proof.subarray(0, length), () => 300));
    const verdict = await verifyStream(key, readable);
    assert.deepEqual(verdict, verify(key, proof.subarray(0, length)));
    assert.equal(verdict.refused, "file");
  }
});

test("a stream that is too long is cancelled where no proof can go on", async () => {
  function* forever() {
    yield proof;
    const zeros = new Uint8Array(1 << 24);
    for (;;) yield zeros;
  }
  const { readable, seen } = stream(forever());
  const verdict = await verifyStream(key, readable);
  assert.match(verdict.reason, /more than 268435456 bytes/);
  assert.equal(verdict.refused, "file");
  assert.equal(seen.cancelled, true);
  assert.equal(seen.taken, 17);
});

test("a stream that does not begin as a proof does is cancelled at once", async () => {
  function* page() {
    yield new TextEncoder().encode("<!");
    for (;;) yield new TextEncoder().encode("doctype html>");
  }
  for (const [own, pieces, part, reason] of [
    [key, page(), "file", /no file that circlet wrote/],
    [key, cut(file("digits.proof"), () => 100), "file", /was expected/],
    [proof, cut(proof, () => 100), "key", /^cannot use the key/],
  ]) {
    const { readable, seen } = stream(pieces);
    const verdict = await verifyStream(own, readable);
    assert.equal(verdict.refused, part);
    assert.match(verdict.reason, reason);
    assert.equal(seen.cancelled, true);
    assert.ok(seen.taken <= 1);
  }
});

test("a stream that fails rejects with its own error", async () => {
  const failure = new Error("connection lost");
  function* failing() {
    yield proof.subarray(0, 1000);
    throw failure;
  }
  const { readable } = stream(failing());
  await assert.rejects(verifyStream(key, readable), failure);
  // The next one is not affected.
  assert.equal((await verifyStream(key, new Response(proof).body)).ok, true);
});

test("arguments of other types are errors of the caller", async () => {
  for (const value of [undefined, null, proof, {}, "proof"]) {
    await assert.rejects(verifyStream(key, value), TypeError);
  }
  await assert.rejects(verifyStream("key", new Response(proof).body), TypeError);
  await assert.rejects(verifyStream(key, new Response(proof).body, { registration: 3 }), TypeError);
  const { readable, seen } = stream(["text"]);
  await assert.rejects(verifyStream(key, readable), TypeError);
  const locked = new Response(proof).body;
  locked.getReader();
  await assert.rejects(verifyStream(key, locked), TypeError);
});
