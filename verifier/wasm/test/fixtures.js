// The files that scripts/proof-fixtures has made, and the verdicts on them.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const folder = process.env.CIRCLET_FIXTURES;
if (!folder) {
  throw new Error("CIRCLET_FIXTURES does not name a folder; run scripts/wasm-test");
}

export const file = (name) => new Uint8Array(readFileSync(join(folder, name)));

export const has = (name) => existsSync(join(folder, name));

/** All cases: { key, proof, ok, refused, reason, says }. */
export const cases = JSON.parse(readFileSync(join(folder, "cases.json"), "utf8"));
if (cases.filter((one) => one.ok).length < 10 || cases.filter((one) => !one.ok).length < 100) {
  throw new Error(`there are only ${cases.length} cases in ${folder}`);
}

/** A statement in the words of `circlet verify --json`. */
export function said(statement) {
  const values = (tensors) => tensors.map((tensor) => Array.from(tensor.values));
  switch (statement.kind) {
    case "program":
      return { input_integers: values(statement.inputs), output_integers: values(statement.outputs) };
    case "text":
      return {
        prompt_tokens: Array.from(statement.tokens.subarray(0, statement.prompt)),
        text_tokens: Array.from(statement.tokens.subarray(statement.prompt)),
      };
    case "chat":
      return {
        turns: statement.turns.map(({ given, generated }) => ({
          prompt_tokens: Array.from(given),
          text_tokens: Array.from(generated),
        })),
      };
    case "encoding":
      return { tokens: Array.from(statement.tokens), embedding_integers: Array.from(statement.vector) };
  }
}
