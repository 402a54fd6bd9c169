"""A report as HTML and as CSV."""

from __future__ import annotations

import csv
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from support.benched import measured, row

from gantool.benching import html, plots, table
from gantool.benching.baseline import compare
from gantool.benching.cell import Cell
from gantool.benching.report import Settings, bench
from gantool.benching.runner import CellError

HOSTILE = '<img src=x onerror="alert(1)">&amp;.int8.onnx'


def fate(request: Any, *more: Any) -> dict[str, Any]:
    cell = request.cell
    if cell.provider == "cuda":
        raise CellError("crashed", "<b>segfault</b> & more", "<script>alert(2)</script>")
    speed = 3 if "int8" in cell.path else 1
    rows = [row(batch, [speed * 100.0 * batch * x for x in (0.9, 1.0, 1.1)]) for batch in (1, 8, 64)]
    made = measured(cell, rows, size=9_000_000 // speed, worst=4.0 * (speed - 1), mean=0.2 * (speed - 1))
    made["proof"]["words"] = ["<i>proof</i>"]
    return made


@pytest.fixture
def report() -> dict[str, Any]:
    cells = [Cell(f"/x/{name}", provider) for name in ("generator.onnx", HOSTILE) for provider in ("cpu", "cuda")]
    made = bench(cells, Settings((1, 8, 64)), measure=fate, absent=lambda provider: None)
    made["machine"]["cpu"] = "<u>CPU</u>"
    made["baseline"] = compare(made, made).as_dict()
    made["quality"] = [
        {"file": HOSTILE, "name": HOSTILE, "reference": "generator.onnx", "images": 1024, "worst_level": 9.0,
         "mean_level": 0.4, "label": "Fréchet distance (pixels)", "distance": 1e-5}
    ]  # fmt: skip
    made["compare"] = {
        "file": HOSTILE,
        "device": "cpu",
        "rounds": 7,
        "contenders": [
            {"name": "gantool", "way": "gantool", "proof": "the golden ones",
             "batches": [{"batch": 1, "images_per_second": 200.0, "ratio": 1.0, "rates": [200.0]}]},
            {"name": "torch.compile", "way": "compile", "cause": "<s>no compiler</s>"},
        ],
    }  # fmt: skip
    return made


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "hr", "img", "wbr"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_is_whole_asks_for_nothing_and_escapes_all(report: dict[str, Any]) -> None:
    page = html.page(report)
    tags = Tags(page)
    assert not tags.open
    assert not {"script", "img", "link", "iframe", "u", "s", "i"} & {tag for tag, _ in tags.tags}
    for _, attributes in tags.tags:
        assert not {"src", "href", "onerror"} & set(attributes)
    assert "url(" not in page
    assert "@import" not in page
    assert "&lt;img src=x onerror=&quot;alert(1)&quot;&gt;&amp;amp;.int8.onnx" in page
    for text in ("Against the baseline", "Through torch", "Quality", "Not measured", "Proof", "Best throughput"):
        assert text in page
    assert "default-src &#x27;none&#x27;" in page or "default-src 'none'" in page


def test_plots_have_a_line_a_cell_and_a_dot_each(report: dict[str, Any]) -> None:
    svgs = re.findall(r"<figure>.*?</figure>", html.page(report))
    assert [re.search("<figcaption>(.*?)<", svg)[1] for svg in svgs] == [  # type: ignore[index]
        "Throughput", "Latency", "Size, quality and speed",
    ]  # fmt: skip
    for svg in svgs[:2]:
        lines = re.findall(r'<polyline points="([^"]+)"', svg)
        assert [len(points.split()) for points in lines] == [3, 3]
        for x, y in (point.split(",") for points in lines for point in points.split()):
            assert 0 < float(x) < plots.WIDTH
            assert 0 < float(y) < plots.HEIGHT
    assert svgs[2].count('class="dot"') == 2
    # the fast one is worse, the good one slower: neither beats the other
    assert len(re.search(r'class="front" points="([^"]*)"', svgs[2])[1].split()) == 2  # type: ignore[index]


def test_more_is_higher_and_further_right() -> None:
    svg = plots.lines([plots.Series("s", ((1, 10.0), (64, 1000.0)))], "batch", "images/s", "alt")
    (x0, y0), (x1, y1) = (
        map(float, point.split(","))
        for point in re.search('points="(.*?)"', svg)[1].split()  # type: ignore[index]
    )
    assert x0 < x1
    assert y0 > y1  # SVG counts from the top


def test_one_cell_has_no_plot_of_quality() -> None:
    one = bench([Cell("/x/generator.onnx")], Settings((1,)), measure=fate, absent=lambda provider: None)
    page = html.page(one)
    assert page.count("<figure>") == 2
    assert "Not measured" not in page


@pytest.mark.parametrize(("value", "text"), [(0.25, "0.25"), (20, "20"), (1500, "1.5k"), (2e6, "2M"), (123456, "123k")])
def test_numbers_are_short(value: float, text: str) -> None:
    assert plots.number(value) == text


def test_csv(report: dict[str, Any], tmp_path: Path) -> None:
    table.write_csv(report, tmp_path / "bench.csv")
    with (tmp_path / "bench.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == table.COLUMNS
    assert [(row["provider"], row["status"], row["batch"]) for row in rows] == [
        ("cpu", "measured", "1"), ("cpu", "measured", "8"), ("cpu", "measured", "64"), ("cuda", "crashed", ""),
    ] * 2  # fmt: skip
    assert float(rows[2]["images_per_second"]) == report["cells"][0]["batches"][2]["images_per_second"]
    assert rows[3]["cause"] == "<b>segfault</b> & more"
    assert float(rows[4]["worst_level"]) == 8


def test_csv_holds_no_formula(report: dict[str, Any], tmp_path: Path) -> None:
    report["cells"][0]["file"]["path"] = "=HYPERLINK(0)"
    table.write_csv(report, tmp_path / "bench.csv")
    assert "\n'=HYPERLINK(0)," in (tmp_path / "bench.csv").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1280])
def test_page_fits_the_screen_in_chromium(report: dict[str, Any], tmp_path: Path, width: int) -> None:
    from support.hosts import browser  # skips where there is none

    html.write_html(report, tmp_path / "bench.html")
    with browser() as opened:
        page = opened.new_page(viewport={"width": width, "height": 800})
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.goto((tmp_path / "bench.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        smallest = page.evaluate(
            "Math.min(...[...document.querySelectorAll('figure text')].map(t => t.getBoundingClientRect().height))"
        )
        assert smallest >= 9
    assert len(asked) == 1
    assert not said
