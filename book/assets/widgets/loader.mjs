/**
 * Brings the page's interactive figures to life.
 *
 * <div data-widget="NAME">static figure</div> is handed to mount() of ./NAME.mjs, which is
 * fetched only by pages that need it. If anything fails the static figure stays.
 */
export async function mountAll(root = document) {
  await Promise.all([...root.querySelectorAll("[data-widget]")].map(mountOne));
}

async function mountOne(element) {
  const name = element.dataset.widget;
  try {
    if (!/^[a-z][a-z0-9-]*$/.test(name)) {
      throw new Error("expected a name of lower-case letters, digits and hyphens");
    }
    const widget = await import(new URL(`./${name}.mjs`, import.meta.url).href);
    widget.mount(element);
  } catch (error) {
    element.querySelector(".iw")?.remove();
    console.error(`data-widget="${name}" keeps its static figure:`, error);
  }
}

await mountAll();
