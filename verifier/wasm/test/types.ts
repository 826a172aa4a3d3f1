// Compiled, not run: the types say what the package does.

import { verify, verifyStream, type Statement, type Verdict } from "circlet-wasm";

function tokens(statement: Statement): Uint32Array[] {
  switch (statement.kind) {
    case "program":
      return statement.outputs.map((tensor) => Uint32Array.from(tensor.values));
    case "text":
      return [statement.tokens.subarray(statement.prompt)];
    case "chat":
      return statement.turns.map((turn) => turn.generated);
    case "encoding":
      return [statement.tokens];
  }
}

export async function shown(key: Uint8Array, response: Response, registration?: Uint8Array): Promise<string> {
  const verdict: Verdict = await verifyStream(key, response.body!, { registration });
  if (verdict.ok) {
    const bounds: "trusted" | "registered" = verdict.bounds;
    return `${verdict.key.model}: ${tokens(verdict.statement).join()} (${bounds})`;
  }
  const nothing: null = verdict.statement;
  return `${verdict.refused}: ${verdict.reason} ${verdict.key?.digest} ${nothing}`;
}

// @ts-expect-error Text is no file.
verify("key", "proof");
// @ts-expect-error What was proven is there only where the proof is accepted.
verify(new Uint8Array(), new Uint8Array()).statement.kind;
