// The server goes away and comes back: the page says so, and goes on by itself.

import { check, signIn, withPage } from "./page.mjs";

export async function away(settings) {
  await withPage(settings, async (page) => {
    await signIn(page, settings);
    const banner = page.getByRole("alert").getByText("The server does not answer.");
    check(!(await banner.isVisible()), "the server is there");
    console.log("stop");
    await banner.waitFor();
    console.log("start");
    await banner.waitFor({ state: "hidden", timeout: settings.patience });
    await page.getByRole("heading", { name: "Migrations", level: 1 }).waitFor();
  });
}
