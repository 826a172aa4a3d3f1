// Files in, a verdict out: what is chosen or dropped goes to the worker, what it says is shown.

import { show } from "./statement.js";

const byId = (id) => document.getElementById(id);
const parts = ["key", "proof", "registration"];
/** What each file begins with, as far as it is a file for this page. */
const begins = { K: "key", V: "key", W: "key", X: "proof", T: "proof", C: "proof", S: "proof", R: "registration" };
/** The most bytes that any file has. */
const MOST = 2 ** 28;

/** The files: { name, bytes }. */
const files = {};
let latest = 0;

const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
worker.addEventListener("message", ({ data }) => {
  // An answer about files that have been replaced since is none.
  if (data.id !== latest) return;
  if (data.failure) return verdict("rejected", "Not verified.", `The verifier has failed: ${data.failure}`);
  answer(data.verdict);
});

for (const part of parts) {
  byId(part).addEventListener("change", async ({ target }) => {
    const [file] = target.files;
    if (file) await take([[part, file]]);
  });
}

byId("clear").addEventListener("click", () => {
  for (const part of parts) {
    delete files[part];
    byId(part).value = "";
  }
  judge();
  byId("key").focus();
});

addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.dataset.over = "";
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) delete document.body.dataset.over;
});
addEventListener("drop", async (event) => {
  event.preventDefault();
  delete document.body.dataset.over;
  const dropped = [...event.dataTransfer.files];
  const onto = event.target.closest?.("[data-part]")?.dataset.part;
  const sorted = await Promise.all(dropped.map(async (file) => [(await partOf(file)) ?? onto, file]));
  const strange = sorted.filter(([part]) => !part).map(([, file]) => file.name);
  if (strange.length > 0) {
    latest++;
    return verdict("rejected", "Not a file of circlet.", `${strange.join(", ")}: no key, proof or registration.`);
  }
  await take(sorted);
});

/** Which file it is, by how it begins. */
async function partOf(file) {
  const head = new TextDecoder("latin1").decode(await file.slice(0, 8).arrayBuffer());
  return head.startsWith("CIRCLET") ? begins[head[7]] : undefined;
}

async function take(chosen) {
  const id = ++latest;
  for (const [part, file] of chosen) {
    try {
      // One byte too many is enough to refuse a file, in the verifier's words.
      files[part] = { name: file.name, bytes: new Uint8Array(await file.slice(0, MOST + 1).arrayBuffer()) };
    } catch (error) {
      delete files[part];
      if (id === latest) return verdict("rejected", "Not verified.", `${file.name} could not be read: ${error.message}`);
    }
  }
  if (id === latest) judge();
}

/** Shows what is there, and has it judged if that is enough. */
function judge() {
  for (const part of parts) {
    const file = files[part];
    byId(`${part}-file`).textContent = file ? `${file.name}, ${size(file.bytes.length)}` : part === "registration" ? "none" : "none yet";
    byId(part).closest(".file").toggleAttribute("data-there", Boolean(file));
  }
  byId("clear").hidden = !parts.some((part) => files[part]);
  const id = ++latest;
  if (!files.key || !files.proof) {
    const missing = [!files.key && "a key", !files.proof && "a proof"].filter(Boolean).join(" and ");
    return verdict("waiting", `Waiting for ${missing}.`);
  }
  verdict("checking", "Checking …");
  const [key, proof, registration] = parts.map((part) => files[part]?.bytes);
  worker.postMessage({ id, key, proof, registration });
}

function answer({ ok, reason, refused, key, bounds, statement }) {
  if (ok) {
    verdict("accepted", "Accepted: the proof is valid.");
  } else {
    const what = { key: "the key cannot be used", file: "the file cannot be used", proof: "the proof is not valid", registration: "the registration is not valid" };
    verdict("rejected", `Rejected: ${what[refused]}.`, `Reason: ${reason}`);
  }
  if (!key) return;
  const facts = [["Model", key.model || "(without a name)"], ["Key", key.digest, "code"]];
  if (ok) {
    facts.push(["Bounds", bounds === "registered" ? "registered: the weights keep them" : "trusted: you rely on the maker of the key"]);
    byId("statement").replaceChildren(...show(statement));
  }
  const list = byId("facts");
  for (const [name, value, tag] of facts) {
    const term = document.createElement("dt");
    const entry = document.createElement("dd");
    const inner = tag ? entry.appendChild(document.createElement(tag)) : entry;
    term.textContent = name;
    inner.textContent = value;
    list.append(term, entry);
  }
  list.hidden = false;
}

/** Shows a verdict in place of the last one. */
function verdict(state, text, reason = "") {
  byId("facts").replaceChildren();
  byId("facts").hidden = true;
  byId("statement").replaceChildren();
  byId("reason").textContent = reason;
  byId("reason").hidden = !reason;
  byId("verdict").dataset.state = state;
  byId("verdict").textContent = text;
}

function size(bytes) {
  return bytes < 1000 ? `${bytes} bytes` : bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
