// The real page in a real browser: Chromium opens a test page from this machine, which drives the page and posts what it
// has found to the server that it came from.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";
import { test } from "node:test";

const package_ = new URL("..", import.meta.url).pathname;
const types = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".wasm": "application/wasm" };
const LIMIT = 120_000;

/** What is served: the page with the package as they are, the files, and the test itself. */
function place(path) {
  const [, top, ...rest] = path.split("/");
  const roots = { www: "www", pkg: "pkg", test: "test" };
  if (top === "fixtures") return join(process.env.CIRCLET_FIXTURES, ...rest);
  return roots[top] && join(package_, roots[top], ...(rest.join("/") ? rest : ["index.html"]));
}

function serve(onResult) {
  return createServer(async (request, response) => {
    const path = normalize(new URL(request.url, "http://localhost").pathname);
    if (request.method === "POST" && path === "/result") {
      let body = "";
      for await (const piece of request) body += piece;
      response.end();
      return onResult(JSON.parse(body));
    }
    try {
      const file = place(path);
      const bytes = await readFile(file);
      response.setHeader("Content-Type", types[extname(file)] ?? "application/octet-stream");
      response.end(bytes);
    } catch {
      response.statusCode = 404;
      response.end();
    }
  });
}

test("the page in Chromium", { timeout: LIMIT + 10_000 }, async (t) => {
  const profile = mkdtempSync(join(tmpdir(), "circlet-browser-"));
  let browser;
  let server;
  try {
    const found = await new Promise((resolve, reject) => {
      server = serve(resolve).listen(0, "127.0.0.1", () => {
        const url = `http://127.0.0.1:${server.address().port}/test/browser.html`;
        const flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"];
        flags.push("--disable-background-networking", "--disable-component-update", "--disable-sync");
        flags.push(`--user-data-dir=${profile}`);
        // Its own process group, so that all of it ends together.
        browser = spawn(process.env.CHROMIUM ?? "chromium", [...flags, url], { detached: true, stdio: ["ignore", "ignore", "pipe"] });
        let errors = "";
        browser.stderr.on("data", (piece) => (errors += piece));
        browser.on("error", reject);
        browser.on("exit", (code) => reject(new Error(`Chromium has ended with ${code}:\n${errors}`)));
        setTimeout(() => reject(new Error(`no result after ${LIMIT / 1000} s:\n${errors}`)), LIMIT).unref();
      });
    });
    for (const { name, error } of found.results) {
      await t.test(name, () => assert.equal(error, null, error ?? undefined));
    }
    assert.equal(found.results.length, found.all, "not every step was reached");
  } finally {
    if (browser?.pid) {
      const gone = new Promise((done) => browser.once("exit", done));
      try {
        process.kill(-browser.pid, "SIGKILL");
        await gone;
      } catch {
        // It has ended by itself.
      }
    }
    server?.closeAllConnections();
    server?.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  }
});
