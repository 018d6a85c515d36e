"""The picture of accuracy against bytes: what is read, where it is drawn, that words stay apart."""

import importlib.util
import itertools
import json
import math
import re
import sys

import pytest

from flaxrec.config import Config, to_json
from flaxrec.config.presets import activity_groups
from flaxrec.errors import DataError
from tests.support.places import ROOT

pytest.importorskip("matplotlib")

SEEDS = (0.30, 0.31, 0.35)  # mean 0.32, squared deviations 0.0004 + 0.0001 + 0.0009


def load(name):
    """A script of benchmarks/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


picture = load("accuracy_by_bytes")
Mark = picture.Mark


def config_of(encoder, inputs="id"):
    config = Config(name="made_up")
    config.model.activity_groups = activity_groups(inputs, encoder)
    return config


def write_starter(models, name, encoder, size, measured_on="exported", inputs="id"):
    folder = models / name
    folder.mkdir(parents=True)
    metrics = {picture.METRIC: {"seeds": list(SEEDS)}}
    figures = {"measured_on": measured_on, "bytes": size, "metrics": metrics}
    (folder / "figures.json").write_text(json.dumps(figures))
    (folder / "config.json").write_text(to_json(config_of(encoder, inputs)))


def row_of(seed, width, exported=None):
    run = f"width={width},seed={seed}"
    row = {"run": run, "kind": "trained", "axes": {"width": width}, "seed": seed}
    row |= {"status": "finished", "protocol": "leave_one_out", "metrics": {"test": {}}}
    row["config"] = json.loads(to_json(config_of("lstm")))
    if exported:
        row["exported"] = {"bytes": exported[0], "metrics": {picture.METRIC: exported[1]}}
    return row


# ---- what is read ---------------------------------------------------------------------------


def test_the_interval_is_students():
    # t of 2 degrees of freedom at 0.975 is 4.30265; s = sqrt(0.0014 / 2).
    half = 4.302653 * math.sqrt(0.0014 / 2) / math.sqrt(3)
    assert picture.interval(SEEDS) == pytest.approx((0.32 - half, 0.32 + half), abs=1e-6)
    assert picture.interval([0.3]) is None


def test_starters_are_read_with_their_seeds(tmp_path):
    write_starter(tmp_path, "movielens_attention", "attention", 366_000)
    write_starter(tmp_path, "movielens_bow", "bow", 250_000, measured_on="trained")
    (mark,) = picture.read([tmp_path])  # the other was not ranked by its file
    assert (mark.encoder, mark.bytes, mark.name) == ("attention", 366_000, "movielens_attention")
    assert mark.mean == pytest.approx(0.32)
    assert mark.interval == picture.interval(SEEDS)
    assert not mark.asked
    write_starter(tmp_path, "movielens_time", "lstm", 366_000, inputs="id_time")
    assert [m.name for m in picture.read([tmp_path]) if m.asked] == ["movielens_time"]


def test_points_of_sweeps_are_those_whose_files_ranked(tmp_path):
    rows = [row_of(seed, 8, exported=(140_000 + seed, SEEDS[seed])) for seed in (2, 0, 1)]
    rows += [row_of(0, 16), row_of(0, 32, exported=(500_000, 0.25))]
    rows.append({"run": "popularity", "kind": "baseline", "axes": {}, "status": "finished"})
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = picture.read([tmp_path])
    assert [(m.encoder, m.bytes, m.name) for m in found] == [
        ("lstm", 140_000, ""),  # of the first seed
        ("lstm", 500_000, ""),
    ]
    assert [m.mean for m in found] == pytest.approx([0.32, 0.25])
    assert found[1].interval is None


def test_points_of_a_report_are_those_whose_files_ranked(tmp_path):
    report = tmp_path / "report.md"
    report.write_text(
        "# Report\n\n## leave_one_out\n\n"
        f"| target | seeds | {picture.METRIC} | exported {picture.METRIC} | bytes |\n"
        "| --- | ---: | ---: | ---: | ---: |\n"
        "| small | 3 | 0.3231 ± 0.0034 | 0.3187 ± 0.0030 | 137,072 |\n"
        "| counting | – | 0.2752 | – | – |\n"
        f"\n| target | {picture.METRIC} |\n| --- | ---: |\n| small | 0.4152 |\n"
        "\n## random\n\n"
        f"| target | seeds | exported {picture.METRIC} | bytes |\n| --- | ---: | ---: | ---: |\n"
        "| small | 3 | 0.4187 ± 0.0030 | 137,072 |\n"
    )
    (mark,) = picture.read([report])
    assert (mark.encoder, mark.bytes, mark.mean, mark.name) == ("lstm", 137_072, 0.3187, "")
    assert not mark.asked
    report.write_text(report.read_text().replace("| small |", "| small ‡ |"))
    assert picture.read([report])[0].asked
    half = 4.302653 * 0.0030 / math.sqrt(3)
    assert mark.interval == pytest.approx((0.3187 - half, 0.3187 + half), abs=1e-6)


def test_the_shipped_report_has_the_points_of_the_page():
    page = (ROOT / "docs" / "half_a_megabyte.md").read_text(encoding="utf-8")
    marks = picture.read([picture.REPORT])
    assert len(marks) == 3
    for mark in marks:
        recall = f"{mark.mean:.4f}".removeprefix("0")
        assert f"| {mark.bytes:,} | **{recall}**" in page


def test_nothing_measured_is_told(tmp_path):
    write_starter(tmp_path, "movielens_bow", "bow", 250_000, measured_on="trained")
    with pytest.raises(DataError, match=r"nothing was measured of exported files; run the sweep"):
        picture.read([tmp_path])


# ---- what is drawn --------------------------------------------------------------------------

MARKS = (
    Mark("attention", 366_000, 0.3385, (0.331, 0.346), "movielens_attention"),
    Mark("attention", 372_000, 0.3391, (0.336, 0.342), "movielens_attention_genre"),
    Mark("lstm", 402_000, 0.311, (0.305, 0.318), "movielens_lstm", asked=True),
    Mark("attention", 146_000, 0.303, None),
    Mark("bow", 262_000, 0.24, (0.23, 0.25), "movielens_bow"),
)


@pytest.fixture(scope="module")
def figure():
    with picture.drawing.style():
        figure = picture.draw(MARKS)
        figure.draw_without_rendering()
        return figure


def test_every_model_is_where_it_belongs(figure):
    above, below = figure.axes
    for axes in (above, below):
        drawn = [c.lines[0].get_xydata()[0].tolist() for c in axes.containers]
        assert drawn == [[mark.bytes / 1e6, mark.mean] for mark in MARKS]
    bars = [c.lines[2][0].get_segments()[0][:, 1] if c.lines[2] else None for c in above.containers]
    for mark, bar in zip(MARKS, bars, strict=True):
        assert bar == pytest.approx(mark.interval) if mark.interval else bar is None
    low, high = above.get_ylim()
    assert all(low < mark.mean < high for mark in MARKS)


def test_an_encoder_is_a_colour_and_starters_are_filled(figure):
    lines = [container.lines[0] for container in figure.axes[0].containers]
    colors = [line.get_color() for line in lines]
    assert colors[0] == colors[1] == colors[3]
    assert len(set(colors)) == 3
    assert [line.get_markerfacecolor() == "white" for line in lines] == [
        mark.name == "" for mark in MARKS
    ]
    assert [line.get_markeredgecolor() == "black" for line in lines] == [m.asked for m in MARKS]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["attention", "lstm", "bow"]


def test_the_anchors_are_lines_and_points(figure):
    above, below = figure.axes
    across = [line.get_ydata()[0] for line in above.lines if line.get_xdata()[-1] == 1]
    values = [*picture.PUBLISHED.values(), *picture.COUNTING.values()]
    assert set(values) <= set(across)
    upright = [line.get_xdata()[0] for line in above.lines if list(line.get_ydata()) == [0, 1]]
    assert upright == [0.15, 0.52]
    points = {tuple(line.get_xydata()[0]) for line in below.lines if line.get_marker() == "x"}
    assert points == {(x, own) for x, own, _ in picture.FILES.values()}


def test_words_stay_apart_and_inside(figure):
    renderer = figure.canvas.get_renderer()
    texts = [text for axes in figure.axes for text in axes.texts]
    wanted = {"attention", "attention_genre", "published BOW", "HSTU ‡ .3097", "eSASRec .3133"}
    assert wanted <= {text.get_text() for text in texts}
    # The words alone, without what points at them.
    boxes = [super(type(t), t).get_window_extent(renderer) for t in texts]
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    width, height = figure.canvas.get_width_height()
    for box in boxes:
        assert box.x0 >= 0
        assert box.x1 <= width
        assert box.y0 >= 0
        assert box.y1 <= height


def test_our_own_measurements_are_those_of_the_pages():
    benchmarks = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    ablations = (ROOT / "docs" / "ablations.md").read_text(encoding="utf-8")
    for name, (megabytes, *recall) in picture.FILES.items():
        size = f"{round(megabytes * 1e6):,}"
        for candidates, value in zip(("3,953 rows", "3,706 rated films"), recall, strict=True):
            row = rf"^\| {name} \| {size} \| {candidates} \| \S+ \| \S+ \| ([\d.]+) \|"
            assert [float(found) for found in re.findall(row, benchmarks, re.M)] == [value]
    for value in picture.COUNTING.values():
        assert f"{value:.4f}".removeprefix("0") in ablations
