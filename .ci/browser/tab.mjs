// A browser tab. It records what a page must not do: report an error, violate its policy, or ask another host.

import { once } from "node:events";
import { writeFile } from "node:fs/promises";

import { within } from "./chromium.mjs";

/** The keys that the checks press. */
const KEYS = {
  Tab: { code: "Tab", windowsVirtualKeyCode: 9 },
  Enter: { code: "Enter", windowsVirtualKeyCode: 13, text: "\r" },
};
const SHIFT = 8;
/** The most pixels of a screenshot from top to bottom. */
const MAX_HEIGHT = 6000;

export class Tab {
  #session;
  #origin;
  /** What the page did wrong. */
  problems = [];
  /** The last answer to a navigation. */
  answer = undefined;

  /** A tab that signs in with `token` when it is asked to. */
  static async open(browser, { origin, token, downloads }) {
    const tab = new Tab();
    tab.#origin = origin;
    tab.#session = await browser.tab(downloads);
    tab.#listen(token);
    for (const domain of ["Page", "Runtime", "Log", "Network", "Audits", "DOM"]) await tab.#session.send(`${domain}.enable`);
    await tab.#session.send("Fetch.enable", { handleAuthRequests: true });
    return tab;
  }

  #listen(token) {
    const session = this.#session;
    const asked = new Set();
    session.on("Fetch.requestPaused", ({ requestId }) => ignore(session.send("Fetch.continueRequest", { requestId })));
    session.on("Fetch.authRequired", ({ requestId }) => {
      // The second question about one request means that the token is wrong.
      const given = token !== undefined && !asked.has(requestId);
      asked.add(requestId);
      const authChallengeResponse = given
        ? { response: "ProvideCredentials", username: "admin", password: token }
        : { response: "CancelAuth" };
      ignore(session.send("Fetch.continueWithAuth", { requestId, authChallengeResponse }));
    });
    session.on("Network.requestWillBeSent", ({ request }) => {
      const url = new URL(request.url);
      if (url.origin !== this.#origin && url.protocol !== "data:") this.problems.push(`asks another host: ${request.url}`);
    });
    session.on("Network.responseReceived", ({ type, response }) => {
      if (type === "Document") this.answer = response;
    });
    session.on("Runtime.consoleAPICalled", ({ type, args }) => {
      this.problems.push(`console.${type}: ${args.map(({ value, description }) => value ?? description).join(" ")}`);
    });
    session.on("Runtime.exceptionThrown", ({ exceptionDetails }) => {
      this.problems.push(`exception: ${exceptionDetails.exception?.description ?? exceptionDetails.text}`);
    });
    session.on("Log.entryAdded", ({ entry }) => {
      if (entry.level !== "verbose") this.problems.push(`${entry.source} ${entry.level}: ${entry.text} ${entry.url ?? ""}`);
    });
    session.on("Audits.issueAdded", ({ issue }) => {
      // Without the number of the element, which differs each time.
      const details = JSON.stringify(issue.details).replace(/,"violatingNodeId":\d+/, "");
      this.problems.push(`issue: ${issue.code} ${details.slice(0, 400)}`);
    });
    session.on("Page.javascriptDialogOpening", ({ message }) => {
      this.problems.push(`a dialog opens: ${message}`);
      ignore(session.send("Page.handleJavaScriptDialog", { accept: false }));
    });
  }

  /** Sets the size, the colour scheme and whether scripts run. */
  async as({ width, height, scheme, scripts = true }) {
    const isPhone = width < 600;
    await this.#session.send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: isPhone });
    await this.#session.send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
    await this.#session.send("Emulation.setScriptExecutionDisabled", { value: !scripts });
  }

  /** Opens a path and returns the status of the answer. */
  async go(path) {
    await this.loads(async () => {
      const { errorText } = await this.#session.send("Page.navigate", { url: this.#origin + path });
      if (errorText) throw new Error(`cannot open ${path}: ${errorText}`);
    });
    return this.answer.status;
  }

  /** Does something that opens a page, and waits until the page has loaded. */
  async loads(action) {
    const loaded = once(this.#session, "Page.loadEventFired");
    await action();
    await within(loaded, "the page loads");
    // The events about a page arrive before the answer to a later command.
    await this.path();
  }

  back() {
    return this.loads(async () => {
      const { currentIndex, entries } = await this.#session.send("Page.getNavigationHistory");
      await this.#session.send("Page.navigateToHistoryEntry", { entryId: entries[currentIndex - 1].id });
    });
  }

  /** Runs a function in the page; its arguments and its result are JSON. */
  async evaluate(run, ...given) {
    return this.evaluateText(`(${run})(...${JSON.stringify(given)})`);
  }

  async evaluateText(expression) {
    const { result, exceptionDetails } = await this.#session.send("Runtime.evaluate", {
      expression,
      awaitPromise: true,
      returnByValue: true,
    });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  /** The path and the query of the page. */
  path() {
    return this.evaluate(() => location.pathname + location.search);
  }

  async press(name, shift = false) {
    const key = { key: name, modifiers: shift ? SHIFT : 0, ...KEYS[name] };
    await this.#session.send("Input.dispatchKeyEvent", { type: "keyDown", ...key });
    await this.#session.send("Input.dispatchKeyEvent", { type: "keyUp", ...key });
  }

  /** Types a text into the field that has the focus. */
  type(text) {
    return this.#session.send("Input.insertText", { text });
  }

  /** Clicks in the middle of the first line of an element, as a mouse does. */
  async click(selector) {
    const place = await this.evaluate((selector) => {
      const element = document.querySelector(selector);
      element?.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
      const line = element?.getClientRects()[0];
      return line && { x: line.x + line.width / 2, y: line.y + line.height / 2 };
    }, selector);
    if (!place) throw new Error(`there is nothing to click on: ${selector}`);
    for (const type of ["mousePressed", "mouseReleased"]) {
      await this.#session.send("Input.dispatchMouseEvent", { type, ...place, button: "left", clickCount: 1 });
    }
  }

  /** Clicks on something that starts a download, and returns the suggested name once it is complete. */
  async download(selector) {
    const begun = once(this.#session, "Browser.downloadWillBegin");
    const done = new Promise((resolve, reject) => {
      this.#session.on("Browser.downloadProgress", ({ state }) => {
        if (state === "completed") resolve();
        if (state === "canceled") reject(new Error("the download failed"));
      });
    });
    await this.click(selector);
    const [{ suggestedFilename }] = await within(begun, "a download begins");
    await within(done, "the download ends");
    return suggestedFilename;
  }

  /** Saves a picture of the whole page. */
  async screenshot(file, wholePage = true) {
    const { cssContentSize: size, cssVisualViewport: view } = await this.#session.send("Page.getLayoutMetrics");
    const height = wholePage ? Math.min(Math.max(size.height, view.clientHeight), MAX_HEIGHT) : view.clientHeight;
    const clip = { x: 0, y: wholePage ? 0 : view.pageY, width: view.clientWidth, height, scale: 1 };
    const { data } = await this.#session.send("Page.captureScreenshot", { format: "png", clip, captureBeyondViewport: wholePage });
    await writeFile(file, Buffer.from(data, "base64"));
  }

  close() {
    return this.#session.close();
  }
}

/** A request that ends while it is answered is no problem. */
function ignore(promise) {
  promise.catch(() => {});
}
