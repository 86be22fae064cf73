// A walk over a page with the Tab key alone.

/** The most stops: a page with a hundred rows has a link in each, and more. */
const MAX_STOPS = 600;

/** Marks everything that a mouse can operate, and remembers how it looks. */
function mark() {
  const controls = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']";
  const isVisible = (element) => element.checkVisibility({ visibilityProperty: true });
  window.controls = [...document.querySelectorAll(controls)].filter(isVisible);
  window.look = (element) => {
    const { outlineStyle, outlineWidth, boxShadow, borderColor, backgroundColor, textDecorationLine } =
      getComputedStyle(element);
    const outline = outlineStyle === "none" || outlineWidth === "0px" ? "" : outlineWidth;
    return [outline, boxShadow, borderColor, backgroundColor, textDecorationLine].join(" | ");
  };
  window.looks = window.controls.map(window.look);
  window.visited = new Set();
}

/** The element with the focus: whether it can be seen, and shows that it has the focus. */
function stop() {
  const element = document.activeElement;
  if (element === document.body || !element) return undefined;
  const index = window.controls.indexOf(element);
  const isNew = !window.visited.has(element);
  window.visited.add(element);
  const line = [...element.getClientRects()].find(({ width, height }) => width > 0 && height > 0);
  const at = line && document.elementFromPoint(line.x + line.width / 2, line.y + line.height / 2);
  return {
    html: element.cloneNode(false).outerHTML.slice(0, 120),
    name: (element.labels?.[0]?.textContent ?? element.textContent).trim().slice(0, 40),
    href: element.getAttribute("href") ?? "",
    index,
    isNew,
    isSeen: Boolean(at) && (element.contains(at) || at.contains(element)),
    isShown: index < 0 || window.look(element) !== window.looks[index],
    landmark: element.closest("nav, form, main, header, footer")?.localName ?? "",
  };
}

/** Walks from the top of the page to its end. Returns the problems and the stops. */
export async function walk(tab) {
  await tab.evaluate(mark);
  const problems = [];
  const stops = [];
  while (stops.length < MAX_STOPS) {
    await tab.press("Tab");
    const at = await tab.evaluate(stop);
    // After the last one, the focus leaves the page.
    if (!at?.isNew) break;
    stops.push(at);
    if (!at.isSeen) problems.push(`has the focus, but is hidden: ${at.html}`);
    if (!at.isShown) problems.push(`does not show the focus: ${at.html}`);
  }
  const missed = await tab.evaluate(() => {
    const missed = window.controls.filter((control) => !window.visited.has(control));
    return missed.map((control) => control.cloneNode(false).outerHTML.slice(0, 120));
  });
  problems.push(...missed.map((html) => `the Tab key does not reach ${html}`));
  const order = stops.map(({ index }) => index).filter((index) => index >= 0);
  if (order.some((index, at) => at > 0 && index < order[at - 1])) problems.push("the Tab key jumps back");
  return { problems: problems.slice(0, 10), stops };
}

/** The skip link: the first stop, visible with the focus; it leads into the main part. */
export async function skip(tab, stops) {
  const first = stops[0];
  if (!first?.href.startsWith("#")) return [`the first stop is no skip link: ${first?.html}`];
  await tab.evaluate(() => (document.activeElement.blur(), scrollTo(0, 0)));
  await tab.evaluate((href) => document.querySelector(`a[href="${href}"]`).focus(), first.href);
  await tab.press("Enter");
  await tab.press("Tab");
  const isInside = await tab.evaluate(() => Boolean(document.activeElement.closest("main")));
  const hasControls = await tab.evaluate(() => Boolean(document.querySelector("main :is(a[href], button, input, select)")));
  return isInside || !hasControls ? [] : ["after the skip link, the focus is not in the main part"];
}
