// For Node, Deno and Bun: the module's bytes are a file beside this one.

import { readFileSync } from "node:fs";

import { initSync } from "./circlet_wasm.js";

initSync({ module: readFileSync(new URL("./circlet_wasm_bg.wasm", import.meta.url)) });

export { verify, verifyStream } from "./api.js";
