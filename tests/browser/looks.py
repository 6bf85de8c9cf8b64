"""What can be seen to be wrong with a page: on a small phone, a tablet and a wide screen, light and dark."""

from itertools import product
from typing import Any, Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

WIDTHS = (320, 960, 1400)
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"

#: Texts whose contrast with what is behind them is below what WCAG 2.2 AA asks for (1.4.3).
FAINT_TEXTS = """() => {
  const channels = colour => colour.match(/[\\d.]+/g).map(Number);
  const luminance = colour => {
    const [r, g, b] = channels(colour).slice(0, 3).map(value => value / 255)
      .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = element => {
    for (let it = element; it; it = it.parentElement) {
      const colour = getComputedStyle(it).backgroundColor;
      if ((channels(colour)[3] ?? 1) === 1) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const faint = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const [dark, light] = [luminance(style.color), luminance(background(element))].sort((a, b) => a - b);
    const size = parseFloat(style.fontSize);
    const needed = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
    const ratio = (light + 0.05) / (dark + 0.05);
    if (ratio < needed) faint.push(`${texts.currentNode.data.trim()}: ${ratio.toFixed(2)}`);
  }
  return faint;
}"""

#: What a screen reader stumbles over.
STUMBLES = """() => {
  const found = [];
  if (!document.documentElement.lang) found.push("no language");
  if (!document.title.trim()) found.push("no title");
  if (document.querySelectorAll("h1").length !== 1) found.push("not one h1");
  if (document.querySelectorAll("main").length !== 1) found.push("not one main");
  for (const field of document.querySelectorAll("input:not([type=hidden]), select, textarea"))
    if (!field.labels.length) found.push(`no label: ${field.name}`);
  for (const image of document.querySelectorAll("img"))
    if (!image.hasAttribute("alt")) found.push(`no alt: ${image.src}`);
  for (const link of document.querySelectorAll("a, button"))
    if (!link.textContent.trim()) found.push(`no name: ${link.outerHTML}`);
  const ids = [...document.querySelectorAll("[id]")].map(it => it.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) found.push(`twice: #${id}`);
  for (const name of ["aria-labelledby", "aria-describedby"])
    for (const it of document.querySelectorAll(`[${name}]`))
      for (const id of it.getAttribute(name).split(" "))
        if (!ids.includes(id)) found.push(`nowhere: #${id}`);
  return found;
}"""


def find_flaws(page: Page) -> list[str]:
    """What is too wide, too faint, or in a screen reader's way, a line each. The page's size is another one then."""
    found: list[str] = []
    page.emulate_media(reduced_motion="reduce")  # no colour is on its way to another one when it is looked at
    for theme, width in product(THEMES, WIDTHS):
        page.emulate_media(color_scheme=theme)
        page.set_viewport_size({"width": width, "height": 800})
        overflow = page.evaluate(OVERFLOW)
        if overflow > 0:
            found.append(f"{theme}, {width} px: {overflow} px too wide")
        found += [f"{theme}, {width} px, {text}" for text in page.evaluate(FAINT_TEXTS)]
    return found + list(page.evaluate(STUMBLES))


def find_violations(page: Page) -> list[dict[str, Any]]:
    """What axe-core finds in the way of people with disabilities. Elements that pass its rules are not listed."""
    response = Axe().run(page, options={"resultTypes": ["violations"]}).response
    return list(response["violations"])
