// What an administrator does with the pages, with a mouse and without scripts. Each journey returns its problems.

import { readFile } from "node:fs/promises";
import { join } from "node:path";

const ROWS = "main table tbody tr";
/** The most rows of a page. */
const MAX_ROWS = 100;
const NEXT = 'a[rel="next"]';
const PREVIOUS = 'a[rel="prev"]';
const CSV = 'a[href^="/log.csv"]';

const textsOf = (tab, selector) =>
  tab.evaluate((selector) => [...document.querySelectorAll(selector)].map((element) => element.textContent), selector);
const has = (tab, selector) => tab.evaluate((selector) => document.querySelector(selector) !== null, selector);

/** Turns all pages of a table, and returns the texts of the rows. */
async function turnAllPages(tab, problems) {
  const rows = [];
  for (;;) {
    const texts = await textsOf(tab, ROWS);
    if (texts.length > MAX_ROWS) problems.push(`${texts.length} rows on a page: ${await tab.path()}`);
    rows.push(...texts);
    if (!(await has(tab, NEXT))) return rows;
    if (texts.length === 0) problems.push(`an empty page has a next one: ${await tab.path()}`);
    await tab.loads(() => tab.click(NEXT));
  }
}

async function expectRows(tab, expected, what, problems) {
  const rows = await turnAllPages(tab, problems);
  const different = new Set(rows).size;
  if (rows.length !== expected) problems.push(`${what}: ${rows.length} rows, expected ${expected}`);
  return { rows, different };
}

/** Turns all pages of the log and of the cycles, and back again. */
export async function paging(tab, { rows, cycles }) {
  const problems = [];
  for (const [path, expected] of [["/log", rows], ["/cycles", cycles]]) {
    await tab.go(path);
    const first = await textsOf(tab, ROWS);
    const { different } = await expectRows(tab, expected, path, problems);
    if (path === "/cycles" && different !== expected) problems.push(`${path}: ${different} different rows of ${expected}`);
    for (let turns = 0; (await has(tab, PREVIOUS)) && turns < expected; turns += 1) {
      await tab.loads(() => tab.click(PREVIOUS));
    }
    const again = await textsOf(tab, ROWS);
    if (again.length !== first.length) problems.push(`${path}: back on the first page, it has ${again.length} rows`);
  }
  return problems;
}

/** Searches for a user, follows the link to the learner, and goes back. */
export async function search(tab, { user, user_rows }) {
  const problems = [];
  const field = 'main form input[name="user"]';
  await tab.go("/log");
  await tab.click(field);
  await tab.type(user);
  await tab.loads(() => tab.press("Enter"));
  const found = await tab.path();
  const rows = await textsOf(tab, ROWS);
  if (rows.length !== user_rows) problems.push(`${found}: ${rows.length} rows, expected ${user_rows}`);
  if (!rows.every((text) => text.includes(user))) problems.push(`${found}: shows other users`);
  const typed = await tab.evaluate((field) => document.querySelector(field).value, field);
  if (typed !== user) problems.push(`${found}: the field lost ${user}: ${typed}`);

  await tab.loads(() => tab.click(`${ROWS} a[href^="/users/"]`));
  const heading = await textsOf(tab, "h1");
  if (!(await textsOf(tab, "main")).join().includes(user)) problems.push(`the page of the learner lacks ${user}: ${heading}`);
  await tab.back();
  if ((await tab.path()) !== found) problems.push(`back from the learner: ${await tab.path()}, expected ${found}`);

  // A text that nobody has, and that would be markup.
  const foreign = `"><script>window.hacked=1</script>&user=a`;
  await tab.evaluate((field) => (document.querySelector(field).value = ""), field);
  await tab.click(field);
  await tab.type(foreign);
  await tab.loads(() => tab.press("Enter"));
  if (tab.answer.status !== 200) problems.push(`a search without a result answers ${tab.answer.status}`);
  if ((await textsOf(tab, ROWS)).length !== 0) problems.push("a search for markup finds rows");
  const kept = await tab.evaluate((field) => document.querySelector(field)?.value, field);
  if (kept !== foreign) problems.push(`the field lost ${foreign}: ${kept}`);
  return problems;
}

/** Chooses a filter in the form, turns its pages, and downloads its rows. */
export async function filter(tab, { held_rows, rows, formula }, downloads) {
  const problems = [];
  const choice = 'main form select[name="status"]';
  await tab.go("/log");
  await tab.evaluate((choice) => document.querySelector(choice).focus(), choice);
  // Typing the first letters chooses an option without opening the list.
  await tab.type("held");
  await tab.evaluate((choice) => (document.querySelector(choice).value = "held"), choice);
  await tab.loads(() => tab.click("main form button"));
  const { rows: held } = await expectRows(tab, held_rows, "status held", problems);
  if (!held.every((text) => /held|would/.test(text))) problems.push("the filter shows rows with another status");
  const chosen = await tab.evaluate((choice) => document.querySelector(choice).value, choice);
  if (chosen !== "held") problems.push(`turning the pages loses the filter: ${chosen}`);

  for (const [expected, open] of [[held_rows, async () => {}], [rows, () => tab.go("/log")]]) {
    await open();
    const path = await tab.path();
    const name = await tab.download(CSV);
    if (!name.endsWith(".csv")) problems.push(`the download is named ${name}`);
    const records = parse(await readFile(join(downloads, name), "utf8"));
    if (records.length - 1 !== expected) problems.push(`CSV of ${path}: ${records.length - 1} rows, expected ${expected}`);
    const widths = new Set(records.map(({ length }) => length));
    if (widths.size !== 1) problems.push(`CSV of ${path}: rows with ${[...widths].join(" and ")} cells`);
    const cells = records.flat();
    const formulas = cells.filter((cell) => /^[=+@\t\r-]/.test(cell));
    if (formulas.length > 0) problems.push(`CSV of ${path}: a spreadsheet runs ${formulas[0].slice(0, 80)}`);
    if (expected === rows && !cells.includes(`'${formula}`)) problems.push(`CSV of ${path}: lacks ${formula}`);
  }
  return problems;
}

/** The records of a CSV file. */
function parse(text) {
  const records = [[]];
  const cell = /("(?:[^"]|"")*"|[^",\r\n]*)(,|\r?\n|$)/gy;
  while (cell.lastIndex < text.length) {
    const [, value, end] = cell.exec(text) ?? [];
    if (value === undefined) throw new Error("this is not CSV");
    records.at(-1).push(value.startsWith('"') ? value.slice(1, -1).replaceAll('""', '"') : value);
    if (end !== "," && cell.lastIndex < text.length) records.push([]);
  }
  return records;
}
