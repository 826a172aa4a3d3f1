// Verifies apart from the page, which stays responsive however long it takes.

// Files that come while it loads must find the listener there.
const loaded = import("../pkg/web.js");

self.addEventListener("message", async ({ data: { id, key, proof, registration } }) => {
  try {
    const { verify } = await loaded;
    self.postMessage({ id, verdict: verify(key, proof, { registration }) });
  } catch (error) {
    self.postMessage({ id, failure: String(error) });
  }
});
