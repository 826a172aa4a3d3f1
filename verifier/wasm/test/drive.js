// Runs in a browser, beside the page: drops and chooses files, reads what the page says, and posts what came of it.

const frame = document.getElementById("page");

/** What the page has loaded in this window; its own constructors make the files. */
let page;

async function fixture(name, as = name) {
  const bytes = await (await fetch(`/fixtures/${name}`)).arrayBuffer();
  return new page.File([bytes], as);
}

function transfer(files) {
  const data = new page.DataTransfer();
  for (const file of files) data.items.add(file);
  return data;
}

function drop(files, onto = page.document.body) {
  const options = { dataTransfer: transfer(files), bubbles: true, cancelable: true };
  onto.dispatchEvent(new page.DragEvent("dragover", options));
  onto.dispatchEvent(new page.DragEvent("drop", options));
}

function choose(id, file) {
  const input = page.document.getElementById(id);
  input.files = transfer([file]).files;
  input.dispatchEvent(new page.Event("change", { bubbles: true }));
}

const text = (id) => page.document.getElementById(id).textContent;

/** Waits for a verdict in this state. */
async function settled(state) {
  const end = Date.now() + 20_000;
  for (;;) {
    const now = page.document.getElementById("verdict").dataset.state;
    if (now === state) break;
    if (Date.now() > end) throw new Error(`the verdict is "${now}: ${text("verdict")} ${text("reason")}", not ${state}`);
    await new Promise((done) => setTimeout(done, 10));
  }
}

function expect(id, pattern) {
  if (!pattern.test(text(id))) throw new Error(`#${id} says "${text(id)}", not ${pattern}`);
}

async function reload() {
  const loaded = new Promise((done) => frame.addEventListener("load", done, { once: true }));
  frame.contentWindow.location.reload();
  await loaded;
  page = frame.contentWindow;
}

const steps = {
  async "it waits for files"() {
    await settled("waiting");
    expect("verdict", /a key and a proof/);
  },
  async "files dropped together are sorted and verified"() {
    drop([await fixture("digits.proof"), await fixture("digits.vk")]);
    await settled("accepted");
    const { says } = (await (await fetch("/fixtures/cases.json")).json()).find((c) => c.proof === "digits.proof");
    expect("facts", new RegExp(`${says.key}.*trusted`));
    expect("statement", new RegExp(says.output_integers[0].join(" ")));
    expect("key-file", /^digits\.vk, 2\.4 kB$/);
  },
  async "a forged proof in place of it is rejected, with the reason"() {
    drop([await fixture("digits-middle.proof")]);
    await settled("rejected");
    expect("verdict", /the proof is not valid/);
    expect("reason", /Merkle path/);
    expect("statement", /^$/);
  },
  async "a damaged file is told from a wrong proof"() {
    const bytes = new Uint8Array(await (await fixture("digits.proof")).arrayBuffer());
    bytes[5000] ^= 1;
    drop([new page.File([bytes], "digits.proof")]);
    await until(() => /damaged/.test(text("reason")));
    expect("verdict", /the file cannot be used/);
  },
  async "clearing forgets everything"() {
    page.document.getElementById("clear").click();
    await settled("waiting");
    expect("key-file", /none yet/);
  },
  async "files that are chosen"() {
    choose("proof", await fixture("tiny.proof"));
    await until(() => /Waiting for a key\./.test(text("verdict")));
    choose("key", await fixture("tiny.vk"));
    await settled("accepted");
    expect("facts", /tiny-llama.*trusted/);
    expect("statement", /8 tokens given, then 6 proven/);
  },
  async "a registration takes the place of trust"() {
    choose("registration", await fixture("tiny.reg"));
    await until(() => /registered/.test(text("facts")));
    await settled("accepted");
  },
  async "a registration of another key is refused"() {
    choose("registration", await fixture("bert.reg"));
    await settled("rejected");
    expect("verdict", /the registration is not valid/);
  },
  async "the key of another model"() {
    page.document.getElementById("clear").click();
    drop([await fixture("bert.vk"), await fixture("tiny.proof")]);
    await settled("rejected");
    expect("reason", /a proof of a text \(\.proof\)/);
  },
  async "files in each other's place"() {
    page.document.getElementById("clear").click();
    choose("key", await fixture("tiny.proof"));
    choose("proof", await fixture("tiny.vk"));
    await settled("rejected");
    expect("verdict", /the key cannot be used/);
  },
  async "an empty file"() {
    page.document.getElementById("clear").click();
    choose("key", await fixture("tiny.vk"));
    choose("proof", new page.File([], "empty.proof"));
    await settled("rejected");
    expect("reason", /empty/);
  },
  async "files that are none of ours"() {
    drop([new page.File(["hello"], "notes.txt")]);
    await until(() => /notes\.txt/.test(text("reason")));
    expect("verdict", /Not a file of circlet/);
  },
  async "conversations and vectors"() {
    drop([await fixture("tiny.vk"), await fixture("chat.proof")]);
    await settled("accepted");
    expect("statement", /2 turns/);
    drop([await fixture("bert.vk"), await fixture("bert.proof"), await fixture("bert.reg")]);
    await until(() => /tiny-bert/.test(text("facts")));
    await settled("accepted");
    expect("statement", /Vector \(32 integers\)/);
    expect("facts", /registered/);
  },
  async "a page that is loaded again begins anew"() {
    await reload();
    await settled("waiting");
    drop([await fixture("digits.vk"), await fixture("digits.proof")]);
    await settled("accepted");
  },
  async "everything has a name for those who do not see it"() {
    for (const input of page.document.querySelectorAll("input")) {
      if (!input.labels?.length) throw new Error(`#${input.id} has no label`);
    }
    if (page.document.getElementById("verdict").getAttribute("role") !== "status") throw new Error("the verdict is not announced");
  },
};

async function until(holds) {
  const end = Date.now() + 20_000;
  while (!holds()) {
    if (Date.now() > end) throw new Error(`it does not come: ${text("verdict")} ${text("reason")} ${text("facts")}`);
    await new Promise((done) => setTimeout(done, 10));
  }
}

async function drive() {
  if (frame.contentDocument.readyState !== "complete" || frame.contentDocument.URL === "about:blank") {
    await new Promise((done) => frame.addEventListener("load", done, { once: true }));
  }
  page = frame.contentWindow;
  const results = [];
  for (const [name, step] of Object.entries(steps)) {
    try {
      await step();
      results.push({ name, error: null });
    } catch (error) {
      results.push({ name, error: String(error?.stack ?? error) });
      break;
    }
  }
  return results;
}

const results = await drive().catch((error) => [{ name: "the page is there", error: String(error) }]);
await fetch("/result", { method: "POST", body: JSON.stringify({ results, all: Object.keys(steps).length }) });
