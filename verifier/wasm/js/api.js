// What the package exports. Types of arguments are checked here; everything else is decided in the module.

import * as module from "./circlet_wasm.js";

export function verify(key, proof, options) {
  bytes(key, "the key");
  bytes(proof, "the proof");
  return module.verify(key, proof, registration(options));
}

export async function verifyStream(key, proof, options) {
  bytes(key, "the key");
  if (typeof proof?.getReader !== "function") {
    throw new TypeError("the proof has to be a ReadableStream of Uint8Array");
  }
  const registered = registration(options);
  const reader = proof.getReader();
  const reading = new module.Reading(key);
  try {
    await take(reader, reading);
  } catch (error) {
    reading.free();
    reader.cancel(error).catch(() => {});
    throw error;
  } finally {
    reader.releaseLock();
  }
  return reading.finish(registered);
}

// Reads to the end, or until nothing that follows can change the verdict.
async function take(reader, reading) {
  while (reading.open) {
    const { done, value } = await reader.read();
    if (done) return;
    reading.push(bytes(value, "what the stream gives"));
  }
  reader.cancel().catch(() => {});
}

const kindOf = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag).get;

// Arrays of other windows and contexts are as good as our own.
function bytes(value, what) {
  if (kindOf.call(value) !== "Uint8Array") {
    throw new TypeError(`${what} has to be a Uint8Array`);
  }
  return value;
}

function registration(options) {
  if (options === undefined || options === null) return undefined;
  if (typeof options !== "object") {
    throw new TypeError("the options have to be an object");
  }
  const { registration } = options;
  return registration === undefined || registration === null ? undefined : bytes(registration, "the registration");
}
