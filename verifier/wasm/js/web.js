// For browsers and bundlers: the module's bytes are fetched from beside this file, before an import of it is done.

import init from "./circlet_wasm.js";

await init({ module_or_path: new URL("./circlet_wasm_bg.wasm", import.meta.url) });

export { verify, verifyStream } from "./api.js";
