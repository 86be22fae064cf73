// What holds for every page. Each check returns the problems it found, as texts.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** WCAG 2.2 AA, which contains 2.1 AA, and the practices that axe recommends. */
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
/** The most bytes of a page: long values are shortened. */
const MAX_PAGE = 1 << 20;

/** Everything that axe-core finds. */
export async function accessibility(tab) {
  await tab.evaluateText(`${AXE}; 0`);
  const { violations } = await tab.evaluate(
    (rules) => axe.run(document, { runOnly: rules, resultTypes: ["violations"] }),
    RULES,
  );
  return violations.flatMap(({ id, help, nodes }) =>
    nodes.slice(0, 3).map(({ target, any, all, none }) => {
      const [reason] = [...any, ...all, ...none];
      return `axe ${id}: ${help}: ${target.join(" ")}: ${reason?.message}`;
    }),
  );
}

/** Elements that make the page scroll sideways, and texts that are cut off. */
export function layout(tab) {
  return tab.evaluate(() => {
    const name = (element) => {
      const text = element.textContent.trim().slice(0, 40);
      return `<${element.localName} class="${element.className}">${text}`;
    };
    const root = document.documentElement;
    const problems = [];
    if (root.scrollWidth > root.clientWidth) {
      const isOutside = (element) => element.getBoundingClientRect().right > root.clientWidth + 1;
      const outside = [...document.body.querySelectorAll("*")].filter(isOutside);
      // The parents are wide because of these.
      const inner = outside.filter((element) => ![...element.children].some(isOutside)).slice(0, 3);
      problems.push(`scrolls sideways: ${root.scrollWidth} pixels of ${root.clientWidth}: ${inner.map(name).join(", ")}`);
    }
    for (const element of document.body.querySelectorAll("*")) {
      const { overflowX, position, clip, clipPath } = getComputedStyle(element);
      const isHidden = position === "absolute" && (clip !== "auto" || clipPath !== "none");
      if (!isHidden && ["hidden", "clip"].includes(overflowX) && element.scrollWidth > element.clientWidth + 1) {
        problems.push(`text is cut off: ${name(element)}`);
      }
    }
    // Short words anywhere, and times in tables. Hyphens and other signs allow a break.
    const time = /^\d{4}-/;
    const unbroken = /[\p{L}\p{N}_.,:;()%]{1,20}(?!\S)|\d{4}-\d\d-\d\dT[\d:]+(Z|[+-][\d:]+)/gu;
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const range = document.createRange();
    for (let text = texts.nextNode(); text; text = texts.nextNode()) {
      for (const word of text.data.matchAll(unbroken)) {
        if (word.index > 0 && /\S/.test(text.data[word.index - 1])) continue;
        // On the narrowest screens no time fits beside its label.
        if (time.test(word[0]) && (root.clientWidth < 390 || !text.parentElement.closest("td"))) continue;
        range.setStart(text, word.index);
        range.setEnd(text, word.index + word[0].length);
        const lines = new Set([...range.getClientRects()].map(({ bottom }) => Math.round(bottom)));
        if (lines.size > 1) problems.push(`breaks ${word[0]}: ${name(text.parentElement)}`);
      }
    }
    // Where a row is a card, each cell has a label of its own.
    for (const cell of document.querySelectorAll("td")) {
      const hasLabel = !["none", "normal", '""'].includes(getComputedStyle(cell, "::before").content);
      if (hasLabel && cell.checkVisibility() && cell.innerText.trim() === "") problems.push(`a label without a value: ${cell.dataset.label}`);
    }
    return [...new Set(problems)].slice(0, 5);
  });
}

/** Foreign text that became more than text, and characters that cannot be seen. */
export function content(tab) {
  return tab.evaluate((maxPage) => {
    const problems = [];
    const expect = (holds, problem) => holds || problems.push(problem);
    expect(window.hacked === undefined, "a script from a name ran");
    expect(document.querySelectorAll("script, iframe, object, embed, base, meta[http-equiv]").length === 0, "a forbidden element");
    const all = [...document.querySelectorAll("*")];
    const attributes = all.flatMap((element) => [...element.attributes].map((attribute) => [element, attribute]));
    for (const [element, { name, value }] of attributes) {
      expect(!name.startsWith("on") && name !== "style", `<${element.localName} ${name}>`);
      expect(!["href", "src", "action"].includes(name) || /^[/#?]/.test(value), `${name}="${value.slice(0, 100)}"`);
    }
    // Controls, marks of direction, characters without width, line separators, tags, and lone surrogates.
    const hidden = /(?![\n\t])[\p{Cc}\p{Cs}]|[\u{200b}-\u{200f}\u{2028}-\u{202e}\u{2060}-\u{206f}\u{feff}\u{e0000}-\u{e0fff}]/u;
    for (const text of [document.documentElement.textContent, ...attributes.map(([, { value }]) => value)]) {
      const found = hidden.exec(text);
      const code = found?.[0].codePointAt(0).toString(16);
      expect(!found, `invisible U+${code} after ${JSON.stringify(text.slice(Math.max(0, (found?.index ?? 0) - 40), found?.index))}`);
    }
    const bytes = new TextEncoder().encode(document.documentElement.outerHTML).length;
    expect(bytes <= maxPage, `the page has ${bytes >> 10} KiB`);
    return problems.slice(0, 10);
  }, MAX_PAGE);
}

/** The headers that keep a page from doing harm, whatever it contains. */
export function headers({ answer: { headers, mimeType, charset } }) {
  const header = (name) => Object.entries(headers).find(([key]) => key.toLowerCase() === name)?.[1] ?? "";
  const policy = header("content-security-policy");
  const problems = [];
  const expect = (holds, problem) => holds || problems.push(problem);
  expect(policy.startsWith("default-src 'none'"), `the policy is ${policy}`);
  expect(!/unsafe|\*|https?:|data:/.test(policy), `the policy is too weak: ${policy}`);
  for (const directive of ["base-uri 'none'", "frame-ancestors 'none'", "form-action 'self'"]) {
    expect(policy.includes(directive), `the policy lacks ${directive}: ${policy}`);
  }
  expect(header("cache-control") === "no-store", "the page may be cached");
  expect(header("x-content-type-options") === "nosniff", "the type may be guessed");
  expect(["no-referrer", "same-origin"].includes(header("referrer-policy")), "other hosts are told the address");
  expect(mimeType === "text/html" && charset.toLowerCase() === "utf-8", `${mimeType} ${charset}`);
  return problems;
}

/** The paths that a page links to. */
export async function links(tab) {
  return tab.evaluate(() => {
    const all = [...document.querySelectorAll("a[href]")].filter(({ origin }) => origin === location.origin);
    return all.map(({ pathname, search }) => pathname + search);
  });
}
