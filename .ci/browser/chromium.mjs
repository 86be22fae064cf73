// A headless Chromium, driven over the DevTools protocol through a pipe: this needs no driver and no open port.

import { spawn } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

// Longer than any answer takes on a busy machine.
export const TIMEOUT = 60_000;

const FLAGS = [
  "--headless=new",
  "--remote-debugging-pipe",
  "--no-first-run",
  "--no-default-browser-check",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-dev-shm-usage",
  "--disable-extensions",
  // A page from this cache loads without an event.
  "--disable-features=BackForwardCache",
  "--disable-gpu",
  "--disable-sync",
  "--force-color-profile=srgb",
  "--hide-scrollbars",
  "--lang=en-US",
  // Nothing but the daemon is reachable.
  "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
];

/** Rejects when `promise` takes too long. */
export async function within(promise, what) {
  let timer;
  const expired = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no result after ${TIMEOUT / 1000} s: ${what}`)), TIMEOUT);
  });
  try {
    return await Promise.race([promise, expired]);
  } finally {
    clearTimeout(timer);
  }
}

export class Browser {
  #child;
  #profile;
  #sessions = new Map();
  #pending = new Map();
  #last = 0;
  #unread = [];

  static async start(executable) {
    const browser = new Browser();
    browser.#profile = await mkdtemp(join(tmpdir(), "learner-sync-browser-"));
    const flags = [...FLAGS, `--user-data-dir=${browser.#profile}`];
    // Chromium refuses to run its sandbox as root.
    if (process.getuid?.() === 0) flags.push("--no-sandbox");
    browser.#child = spawn(executable, flags, { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
    browser.#child.on("error", (error) => browser.#fail(error));
    browser.#child.on("exit", (code, signal) => browser.#fail(new Error(`Chromium ended: ${code ?? signal}`)));
    browser.#child.stdio[3].on("error", (error) => browser.#fail(error));
    browser.#child.stdio[4].on("data", (bytes) => browser.#read(bytes));
    browser.version = (await browser.send("Browser.getVersion")).product;
    return browser;
  }

  /** A session with a new tab, which shares no cookies, credentials or cache with the others. */
  async tab(downloads) {
    const { browserContextId } = await this.send("Target.createBrowserContext");
    const { targetId } = await this.send("Target.createTarget", { url: "about:blank", browserContextId });
    const { sessionId } = await this.send("Target.attachToTarget", { targetId, flatten: true });
    await this.send("Browser.setDownloadBehavior", {
      behavior: "allow",
      browserContextId,
      downloadPath: downloads,
      eventsEnabled: true,
    });
    const session = new EventEmitter();
    session.setMaxListeners(0);
    session.send = (method, parameters) => this.send(method, parameters, sessionId);
    session.close = () => this.send("Target.disposeBrowserContext", { browserContextId });
    this.#sessions.set(sessionId, session);
    return session;
  }

  send(method, params = {}, sessionId = undefined) {
    const id = ++this.#last;
    const answer = new Promise((resolve, reject) => this.#pending.set(id, { method, resolve, reject }));
    this.#child.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    return within(answer, method);
  }

  async stop() {
    const ended = once(this.#child, "exit");
    this.send("Browser.close").catch(() => {});
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), 10_000);
    await ended;
    clearTimeout(timer);
    await rm(this.#profile, { recursive: true, force: true, maxRetries: 5 });
  }

  #fail(error) {
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }

  #read(bytes) {
    // A message ends with a zero byte, and may arrive in many pieces.
    let start = 0;
    for (let end = bytes.indexOf(0); end >= 0; end = bytes.indexOf(0, start)) {
      this.#unread.push(bytes.subarray(start, end));
      const message = JSON.parse(Buffer.concat(this.#unread).toString());
      this.#unread = [];
      start = end + 1;
      this.#deliver(message);
    }
    this.#unread.push(bytes.subarray(start));
  }

  #deliver({ id, method, params, sessionId, result, error }) {
    if (id === undefined) {
      const receivers = sessionId ? [this.#sessions.get(sessionId)] : this.#sessions.values();
      for (const session of receivers) session?.emit(method, params);
      return;
    }
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    if (error) pending?.reject(new Error(`${pending.method}: ${error.message}`));
    else pending?.resolve(result);
  }
}
