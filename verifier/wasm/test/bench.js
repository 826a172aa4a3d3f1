// How long a verdict takes, after some that warm up.

import { verify } from "circlet-wasm";

import { file, has } from "./fixtures.js";

for (const name of ["digits", "tiny", "bert", "smollm2"].filter((name) => has(`${name}.proof`))) {
  const [key, proof] = [file(`${name}.vk`), file(`${name}.proof`)];
  const times = [];
  for (let run = 0; run < 60; run++) {
    const start = performance.now();
    if (!verify(key, proof).ok) throw new Error(`${name} is rejected`);
    if (run >= 20) times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  const [least, middle] = [times[0], times[times.length >> 1]].map((time) => time.toFixed(1));
  console.log(`${name}: ${proof.length} bytes, ${least} ms at least, ${middle} ms in the middle of ${times.length}`);
}
