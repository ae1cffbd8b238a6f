// A page of the dashboard in Chromium, watched: whatever a browser complains about fails the test.

import { mkdtempSync, mkdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

const FLAGS = [
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** A failure of an expectation. */
export function check(holds, what) {
  if (!holds) {
    throw new Error(what);
  }
}

/**
 * Opens the dashboard and hands it to `work`, as a page with the settings of this run; closes it
 * afterwards, and fails if the browser had anything to complain about.
 */
export async function withPage(settings, work) {
  const { chromium } = createRequire(join(settings.modules, "x"))("playwright-core");
  const profile = mkdtempSync(join(tmpdir(), "pghaul-browser-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: settings.chromium,
    headless: true,
    args: process.getuid() === 0 ? [...FLAGS, "--no-sandbox"] : FLAGS,
    viewport: { width: 1280, height: 800 },
    timezoneId: "UTC",
    locale: "en-GB",
    reducedMotion: "reduce",
  });
  const complaints = [];
  try {
    const page = await context.newPage();
    page.setDefaultTimeout(30_000);
    watch(page, settings, complaints);
    await work(page);
    check(complaints.length === 0, `the browser complained:\n${complaints.join("\n")}`);
  } catch (error) {
    const [page] = context.pages().slice(-1);
    const text = await page?.evaluate(() => document.body.innerText).catch(() => "");
    error.message += `\ncomplaints: ${complaints.join("\n")}\nat ${page?.url()} the page says:\n${text}`;
    if (settings.failure) {
      await page?.screenshot({ path: settings.failure }).catch(() => {});
    }
    throw error;
  } finally {
    await context.close();
    rmSync(profile, { recursive: true, force: true });
  }
}

function watch(page, settings, complaints) {
  const origin = new URL(settings.url).origin;
  page.on("pageerror", (error) => complaints.push(`error: ${error.stack}`));
  page.on("dialog", (dialog) => {
    complaints.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("console", (message) => {
    // That an answer was an error is what some steps are about; all else is not expected.
    const answer = message.text().startsWith("Failed to load resource");
    if (["error", "warning"].includes(message.type()) && !answer) {
      complaints.push(`console: ${message.text()}`);
    }
  });
  page.on("request", (request) => {
    const address = request.url();
    if (!address.startsWith(`${origin}/`) && !address.startsWith("data:") && !address.startsWith("blob:")) {
      complaints.push(`request to ${address}`);
    }
  });
  page.on("response", (response) => {
    if (response.status() >= 500) {
      complaints.push(`${response.status()} of ${response.url()}`);
    }
  });
}

/** Fails if something sticks out of the page. */
export async function noWider(page, what) {
  const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  check(wide <= room, `${what} is ${wide} wide, and there is room for ${room}`);
}

/** Saves what is seen as `NAME-light.png` and `NAME-dark.png`, if pictures are wanted. */
export async function picture(page, settings, name) {
  if (!settings.pictures) {
    return;
  }
  mkdirSync(settings.pictures, { recursive: true });
  for (const colorScheme of ["dark", "light"]) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    await page.waitForTimeout(150);
    await page.evaluate(neutral, settings.names);
    await page.screenshot({ path: join(settings.pictures, `${name}-${colorScheme}.png`) });
  }
}

/** What is where, and called what, on the host that takes the pictures, is nothing to show. */
function neutral(names) {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    for (const [here, shown] of names) {
      if (texts.currentNode.data.includes(here)) {
        texts.currentNode.data = texts.currentNode.data.replaceAll(here, shown);
      }
    }
  }
}

/** Signs in at the page that asks for it. */
export async function signIn(page, settings) {
  await page.goto(settings.url);
  await page.getByLabel("User").fill(settings.user);
  await page.getByLabel("Password").fill(settings.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Migrations", level: 1 }).waitFor();
}

/** What has the focus: its label, or its text. */
export function focused(page) {
  return page.evaluate(() => {
    const node = document.activeElement;
    const label = node.getAttribute("aria-label") ?? node.labels?.[0]?.textContent ?? node.textContent;
    return label.replace(/\s+/g, " ").replace(/ \*$/, "").trim();
  });
}

/** Presses Tab until what has this label has the focus, and checks that one sees it. */
export async function tabTo(page, label, key = "Tab") {
  const seen = [];
  for (let pressed = 0; pressed < 80; pressed += 1) {
    await page.keyboard.press(key);
    const name = await focused(page);
    seen.push(name.slice(0, 40));
    if (typeof label === "string" ? name === label : label.test(name)) {
      const visible = await page.evaluate(() => {
        const styled = (node) => node && getComputedStyle(node).outlineStyle !== "none";
        return styled(document.activeElement) || styled(document.activeElement.nextElementSibling);
      });
      check(visible, `one does not see that ${name} has the focus`);
      return;
    }
  }
  throw new Error(`Tab does not lead to ${label}, but to ${seen.join(" | ")}`);
}
