"""The page in a real browser: legible on a phone and in the dark, its controls work, and the console stays empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import browser
import page_sample
import pytest

from attn2trt.report.page import page

pytestmark = pytest.mark.skipif(browser.FOUND is None, reason="no Chromium here: apt-get install chromium")
# Elements that stick out of the window and can be scrolled to by nothing of their own.
STRAY = """[...document.querySelectorAll("body *")].filter(one => one.getBoundingClientRect().right > innerWidth + 1
  && !one.closest(".scroll")).map(one => one.tagName + " " + one.textContent.slice(0, 40))"""
# WCAG's contrast of each text against the page.
CONTRAST = """(() => {
  const light = colour => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map(Number)
      .map(value => value / 255).map(value => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = light(getComputedStyle(document.documentElement).backgroundColor);
  return [...document.querySelectorAll("p, td, th, li, code, summary, a, caption, h1, h2")].map(one => {
    const ink = light(getComputedStyle(one).color);
    return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
  }).reduce((least, next) => Math.min(least, next));
})()"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Page]:
    with browser.browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    more = {
        "cost": page_sample.cost(),
        "benchmark": page_sample.benchmark(),
        "validated": {"verdict": page_sample.verdict(passed=False).to_json(), "machine": {"cpu": "Another"}},
    }
    bundles = [page_sample.write(folder / "full", shown=more), page_sample.write(folder / "bare")]
    found = {"full": [bundles[0]], "bare": [bundles[1]], "several": [*bundles, bundles[0]]}
    for name, some in found.items():
        (folder / f"{name}.html").write_text(page(some), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in found}


@pytest.mark.parametrize("name", ["full", "bare", "several"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_is_legible(shown: browser.Page, pages: dict[str, Path], name: str, dark: bool, width: int) -> None:
    shown.open(pages[name], width=width, dark=dark)
    assert shown.value("document.documentElement.scrollWidth") <= width
    assert shown.value(STRAY) == []
    assert shown.value(CONTRAST) >= 4.5
    assert shown.value("getComputedStyle(document.documentElement).backgroundColor") == (
        "rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)"
    )
    assert shown.problems == []


def test_on_paper_it_is_whole(shown: browser.Page, pages: dict[str, Path]) -> None:
    hidden = "[...document.querySelectorAll('details table')].filter(one => !one.checkVisibility()).length"
    shown.open(pages["full"], width=794)  # A4's, in the browser's pixels
    assert shown.value(hidden) > 0
    shown.open(pages["full"], width=794, printed=True)
    assert shown.value(hidden) == 0
    assert shown.value("document.documentElement.scrollWidth") <= 794
    cases = "[...document.querySelectorAll('summary ~ .scroll td.good')]"
    assert max(shown.value(f"{cases}.map(one => one.parentElement.offsetHeight)")) < 40  # two lines


def test_its_controls_work_and_no_script_of_a_name_runs(shown: browser.Page, pages: dict[str, Path]) -> None:
    shown.open(pages["several"])
    hidden = "document.querySelectorAll('details.bundle')[1]"
    assert shown.value(f"{hidden}.open") is False
    shown.value(f"{hidden}.querySelector('summary').click()")
    assert shown.value(f"{hidden}.open") is True
    shown.value("document.querySelector('nav a').click()")
    assert shown.value("location.hash") == "#b1-verdict"
    assert shown.value("document.scripts.length") == 0
    assert shown.problems == []


def test_the_check_sees_a_page_that_breaks_its_policy(shown: browser.Page, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    policy = "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'\">"
    broken.write_text(f"{policy}<p style='width: 2000px'>wide</p><script>1</script><table width=2000><tr><td>a")
    before = len(shown.problems)
    shown.open(broken, width=390)
    assert shown.value(CONTRAST) < 4.5
    assert shown.value("document.documentElement.scrollWidth") > 390
    assert shown.value(STRAY) != []
    assert len(shown.problems) > before
    del shown.problems[before:]
