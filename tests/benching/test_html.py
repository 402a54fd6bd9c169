"""A report as an HTML page and as CSV."""

from __future__ import annotations

import csv
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from support.benched import measured, report_of, row

from gantool.benching import html, tables
from gantool.benching.answer import compare
from gantool.benching.matrix import Cell
from gantool.benching.report import CellError

HOSTILE = '<img src=x onerror="alert(1)">&amp;.int8.onnx'


def measure(cell: Cell) -> dict[str, Any]:
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
    made = report_of(cells, measure, (1, 8, 64))
    made["machine"]["cpu"] = "<u>CPU</u>"
    made["baseline"] = compare(made, made)
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
        assert not {"src", "onerror"} & set(attributes)
        for name, value in attributes.items():
            assert "href" not in name or str(value).startswith("#"), "only parts of the page itself"
    assert page.count("url(") == page.count("url(#")
    assert "@import" not in page
    assert "default-src 'none'" in page
    assert "&lt;img src=x onerror=&quot;alert(1)&quot;&gt;&amp;amp;.int8.onnx" in page
    for text in ("Against the baseline", "Through torch", "Quality", "Not measured", "Proof", "Best throughput"):
        assert text in page


def test_plots_have_a_line_or_a_dot_for_each_cell(report: dict[str, Any]) -> None:
    figures = re.findall(r"<figure>.*?</figure>", html.page(report), re.DOTALL)
    assert [re.findall("<figcaption>(.*?)<", figure) for figure in figures] == [
        ["Throughput"], ["Latency"], ["Size, quality and speed"],
    ]  # fmt: skip
    assert re.findall('id="(images_per_second-[^"]+)"', figures[0]) == ["images_per_second-0", "images_per_second-1"]
    assert re.findall('id="(p99_ms-[^"]+)"', figures[1]) == ["p99_ms-0", "p99_ms-1"]
    assert set(re.findall('id="(dot-[^"]+)"', figures[2])) == {"dot-0", "dot-1"}
    # the fast one is worse, the good one slower: neither beats the other, and a line joins both
    (front,) = re.findall(r'id="front">\s*<path d="([^"]*)"', figures[2])
    assert len(re.findall("[ML]", front)) == 2
    # colours are those of the page, which follow dark mode; numbers are plain, and text is text
    for figure in figures:
        assert "var(--c0)" in figure
        assert "#0072b2" not in figure
        assert "font" in figure
    assert ">5,000</text>" in figures[0]


def test_one_file_has_no_plot_of_quality() -> None:
    page = html.page(report_of([Cell("/x/generator.onnx")], measure))
    assert page.count("<figure>") == 2
    assert "Not measured" not in page


def test_csv(report: dict[str, Any], tmp_path: Path) -> None:
    tables.write_csv(report, tmp_path / "bench.csv")
    with (tmp_path / "bench.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == tables.CSV_COLUMNS
    assert [(row["provider"], row["status"], row["batch"]) for row in rows] == [
        ("cpu", "measured", "1"), ("cpu", "measured", "8"), ("cpu", "measured", "64"), ("cuda", "crashed", ""),
    ] * 2  # fmt: skip
    assert float(rows[2]["images_per_second"]) == report["cells"][0]["batches"][2]["images_per_second"]
    assert rows[3]["cause"] == "<b>segfault</b> & more"
    assert float(rows[4]["worst_level"]) == 8


def test_csv_holds_no_formula(report: dict[str, Any], tmp_path: Path) -> None:
    report["cells"][0]["file"]["path"] = "=HYPERLINK(0)"
    tables.write_csv(report, tmp_path / "bench.csv")
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
