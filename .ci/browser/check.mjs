// Looks at the status page as its readers do. Usage: node check.mjs JOB, where JOB is a JSON file:
//
//   browser    the program of a Chromium
//   origin     http://127.0.0.1:9464
//   token      the token of the page
//   output     the directory of the screenshots
//   downloads  the directory of the downloads
//   pages      [{ name, path, status, texts }]: the expected status, 200 if missing, and texts that the page contains
//   journeys   the numbers that the journeys find, or null
//
// Prints the problems. Exits 1 if there are any.

import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";

import { accessibility, content, headers, layout, links } from "./checks.mjs";
import { Browser } from "./chromium.mjs";
import * as journeys from "./journeys.mjs";
import { skip, walk } from "./keyboard.mjs";
import { Tab } from "./tab.mjs";

const WIDE = { width: 1280, height: 900 };
const NARROW = { width: 390, height: 844 };
/** Further widths at which nothing scrolls sideways; 320 is what 1280 is at 400 %. */
const WIDTHS = [320, 360, 768, 1024, 1920];

const job = JSON.parse(await readFile(process.argv[2], "utf8"));
/** Where each problem was found. */
const problems = new Map();
const started = Date.now();
/** The ends of the complaints of the browser about pages that are not 200 by intention. */
const refused = job.pages.filter(({ status }) => status).map(({ path }) => ` ${job.origin}${path}`);
const browser = await Browser.start(job.browser);

/** Records problems, and what the tab has recorded since the last time. */
function report(tab, place, found) {
  const isExpected = (problem) =>
    problem.startsWith("network error: Failed to load resource") && refused.some((end) => problem.endsWith(end));
  for (const problem of [...found, ...tab.problems.splice(0)]) if (!isExpected(problem)) add(place, problem);
}

function add(place, problem) {
  problems.set(problem, (problems.get(problem) ?? new Set()).add(place));
}

async function look(tab, { name, path, texts, status: expected = 200 }) {
  for (const scheme of ["light", "dark"]) {
    for (const size of [WIDE, NARROW]) {
      const place = `${name}-${size.width}-${scheme}`;
      await tab.as({ ...size, scheme });
      const status = await tab.go(path);
      const missing = await tab.evaluate((texts) => texts.filter((text) => !document.body.innerText.includes(text)), texts);
      report(tab, place, [
        ...(status === expected ? [] : [`answers ${status}, expected ${expected}`]),
        ...missing.map((text) => `lacks ${text}`),
        ...headers(tab),
        ...(await content(tab)),
        ...(await layout(tab)),
        ...(await accessibility(tab)),
      ]);
      await tab.screenshot(join(job.output, `${place}.png`));
    }
  }
  for (const width of WIDTHS) {
    await tab.as({ width, height: 900, scheme: "light" });
    await tab.go(path);
    report(tab, `${name}-${width}`, await layout(tab));
  }
}

async function walkOver(tab, { name, path }) {
  for (const size of [WIDE, NARROW]) {
    const place = `${name}-${size.width}-keyboard`;
    await tab.as({ ...size, scheme: "light" });
    await tab.go(path);
    const { problems: found, stops } = await walk(tab);
    const reaches = (landmark) => stops.some((stop) => stop.landmark === landmark);
    if (!reaches("nav")) found.push("the Tab key does not reach the navigation");
    if (path === "/log" && !reaches("form")) found.push("the Tab key does not reach the form");
    report(tab, place, [...found, ...(await skip(tab, stops))]);
    await tab.go(path);
    await tab.press("Tab");
    await tab.screenshot(join(job.output, `${place}.png`), false);
  }
}

/** Follows every link of the pages, without the browser. */
async function followLinks(tab) {
  const authorization = `Basic ${Buffer.from(`admin:${job.token}`).toString("base64")}`;
  const found = new Map();
  for (const { name, path } of job.pages) {
    await tab.go(path);
    // One of each kind, and two at most: a log has hundreds of links to learners.
    const kinds = new Map();
    for (const link of await links(tab)) {
      const kind = link.replace(/[0-9a-f-]{36}|=[^&]*/g, "");
      kinds.set(kind, [...(kinds.get(kind) ?? []), link].slice(0, 2));
    }
    for (const link of [...kinds.values()].flat()) found.set(link, name);
  }
  for (const [link, name] of found) {
    const { status } = await fetch(job.origin + link, { headers: { authorization }, redirect: "manual" });
    // The skip link of a page leads to the page itself.
    const expected = job.pages.find(({ path }) => path === link)?.status ?? 200;
    if (status !== expected) add(name, `the link ${link} answers ${status}`);
  }
  return found.size;
}

async function run() {
  await mkdir(job.output, { recursive: true });
  await mkdir(job.downloads, { recursive: true });
  const tab = await Tab.open(browser, job);
  for (const page of job.pages) {
    await look(tab, page);
    await walkOver(tab, page);
  }
  const followed = await followLinks(tab);
  report(tab, "links", []);
  if (job.journeys) {
    await tab.as({ ...WIDE, scheme: "light", scripts: false });
    for (const journey of [journeys.paging, journeys.search, journeys.filter]) {
      report(tab, journey.name, await journey(tab, job.journeys, job.downloads));
      await tab.screenshot(join(job.output, `journey-${journey.name}.png`));
    }
    await refusals(tab);
  }
  await tab.close();
  return followed;
}

/** What a reader sees without the token, and behind a link that leads nowhere. */
async function refusals(tab) {
  for (const path of ["/unknown", "/users/00000000-0000-4000-8000-000000000000"]) {
    const status = await tab.go(path);
    if (status !== 404) add(path, `answers ${status}, expected 404`);
    tab.problems.splice(0);
    await tab.screenshot(join(job.output, `missing-${path.split("/")[1]}.png`));
  }
  for (const token of [undefined, "wrong"]) {
    const stranger = await Tab.open(browser, { ...job, token });
    for (const path of [...job.pages.map(({ path }) => path), "/log.csv"]) {
      const status = await stranger.go(path);
      if (status !== 401) add(path, `answers ${status} to the token ${token}, expected 401`);
    }
    await stranger.close();
  }
}

const followed = await run().catch((error) => void add("stopped early", error.stack));
await browser.stop();
const seconds = Math.round((Date.now() - started) / 1000);
console.log(`    ${browser.version}: ${job.pages.length} pages in ${seconds} s; screenshots in ${job.output}`);
if (followed) console.log(`    followed ${followed} links`);
for (const [problem, places] of problems) console.log(`    ${[...places].join(", ")}: ${problem.slice(0, 1000)}`);
process.exitCode = problems.size === 0 ? 0 : 1;
