// A whole flow without a mouse: signing in, a new migration, its cancelation in two steps, and
// its deletion.

import { check, focused, tabTo, withPage } from "./page.mjs";

export async function keyboard(settings) {
  await withPage(settings, async (page) => {
    const { keyboard: keys } = page;
    await page.goto(settings.url);
    await page.getByLabel("User").waitFor();
    check((await focused(page)) === "User", "the first field has the focus");
    await keys.type(settings.user);
    await tabTo(page, "Password");
    await keys.type(settings.password);
    await keys.press("Enter");
    await page.getByRole("heading", { name: "Migrations", level: 1 }).waitFor();

    await tabTo(page, "New migration");
    await keys.press("Enter");
    await page.getByRole("heading", { name: "Setup", level: 2 }).waitFor();
    check((await focused(page)) === "Setup", "the step has the focus");
    await tabTo(page, "Name");
    await keys.type(settings.name);
    await keys.press("Enter");
    await page.getByRole("heading", { name: "Runtime server", level: 2 }).waitFor();
    await tabTo(page, "Next");
    await keys.press("Enter");
    for (const side of ["Source", "Target"]) {
      await page.getByRole("heading", { name: side, level: 2 }).waitFor();
      const { host, port, user, password } = settings[side.toLowerCase()];
      await tabTo(page, "Host");
      await keys.type(host);
      await tabTo(page, "Port");
      await keys.press("Control+a");
      await keys.type(String(port));
      await tabTo(page, "User");
      await keys.type(user);
      await tabTo(page, "Password");
      await keys.type(password);
      await keys.press("Enter");
    }
    await page.getByRole("heading", { name: "Databases", level: 2 }).waitFor();
    await page.getByRole("checkbox").first().waitFor();
    await tabTo(page, /^All databases/);
    await keys.press("ArrowRight");
    await tabTo(page, settings.databases[0]);
    await keys.press("Space");
    check(await page.getByLabel(settings.databases[0], { exact: true }).isChecked(), "Space chooses");
    await tabTo(page, "Next");
    await keys.press("Enter");
    await page.getByRole("heading", { name: "Options", level: 2 }).waitFor();
    await tabTo(page, "At most");
    await keys.type(settings.limit);
    await keys.press("Enter");
    await page.getByRole("heading", { name: "Review", level: 2 }).waitFor();
    await tabTo(page, "Create migration");
    await keys.press("Enter");
    await page.getByRole("heading", { name: settings.name, level: 1 }).waitFor();
    await page.locator(".page-title .sub").getByText("Copying").waitFor({ timeout: settings.patience });

    await pauses(page);
    await cancels(page, settings);
    await deletes(page, settings);
  });
}

async function pauses(page) {
  await page.getByRole("button", { name: "Pause" }).waitFor();
  await tabTo(page, "Pause");
  await page.keyboard.press("Enter");
  await page.locator(".page-title .badge").getByText("Paused").waitFor();
  await tabTo(page, "Resume");
  await page.keyboard.press("Enter");
  await page.locator(".page-title .badge").getByText("In progress").waitFor();

  // The arrow keys go from tab to tab, and along a chart.
  await tabTo(page, "Progress");
  await page.keyboard.press("ArrowRight");
  check((await focused(page)) === "Tables", "the arrow goes to the next tab");
  await page.keyboard.press("ArrowLeft");
  const chart = page.getByRole("figure").filter({ hasText: "Throughput" });
  await chart.locator(".chart-line").waitFor();
  await tabTo(page, /^Throughput over time/);
  await page.keyboard.press("ArrowLeft");
  await chart.locator(".chart-tip").waitFor();
}

async function cancels(page, settings) {
  const dialog = page.getByRole("dialog", { name: "Cancel this migration" });
  await tabTo(page, "Cancel", "Shift+Tab");
  await page.keyboard.press("Enter");
  await dialog.waitFor();
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });
  check((await focused(page)) === "Cancel", "the focus is back where it was");

  await page.keyboard.press("Enter");
  await dialog.getByText("Step 1 of 2").waitFor();
  check((await focused(page)) === "Continue", "the next step has the focus");
  await page.keyboard.press("Enter");
  await dialog.getByText("Step 2 of 2").waitFor();
  const act = dialog.getByRole("button", { name: "Cancel the migration" });
  check(await act.isDisabled(), "nothing is typed, and it can be done");
  await page.keyboard.type(settings.name.slice(0, -1));
  check(await act.isDisabled(), "the wrong name is typed, and it can be done");
  await page.keyboard.press("Enter");
  check(await dialog.isVisible(), "Enter did it with the wrong name");
  await page.keyboard.type(settings.name.slice(-1));

  // The focus stays within.
  for (let pressed = 0; pressed < 12; pressed += 1) {
    await page.keyboard.press("Tab");
    const outside = await page.evaluate(() => document.activeElement !== document.body && !document.activeElement.closest("dialog"));
    check(!outside, `Tab leaves the dialog to ${await focused(page)}`);
  }
  await tabTo(page, "Cancel the migration");
  await page.keyboard.press("Enter");
  await dialog.waitFor({ state: "detached" });
  await page.locator(".page-title .badge").getByText("Canceled").waitFor({ timeout: settings.patience });
}

async function deletes(page, settings) {
  await page.getByRole("button", { name: "Delete" }).waitFor();
  await tabTo(page, "Delete");
  await page.keyboard.press("Enter");
  await page.getByRole("dialog").getByText("Step 1 of 2").waitFor();
  await page.keyboard.press("Enter");
  await page.keyboard.type(settings.name);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Migrations", level: 1 }).waitFor();
  await tabTo(page, "Active");
  await page.keyboard.press("ArrowRight");
  await page.getByText("No migration yet").waitFor();
}
