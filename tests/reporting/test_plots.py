"""Plots: which axis goes where, what is drawn, that nothing overlaps or is cut off."""

import dataclasses
import itertools

import pytest

from flaxrec.errors import ConfigError
from tests.support.report_points import METRIC, NOISE, measured, of_points

pytest.importorskip("matplotlib")

from flaxrec.reporting import drawing, plots
from flaxrec.reporting.plots import Layout, choose_layout


def grid(**axes):
    """A point for every combination of the axes' values."""
    points = []
    for i, values in enumerate(itertools.product(*axes.values())):
        own = dict(zip(axes, values, strict=True))
        name = ",".join(f"{axis}={value}" for axis, value in own.items())
        points.append(measured(name, 0.01 * i + NOISE[:2] + 0.3, bytes=10**6 + i, **own))
    return points


POPULARITY = measured("popularity", NOISE[0] + 0.2, kind="baseline", baseline="popularity")


def figures(test_set, x=None, latency=None):
    """The figures by name, laid out as they are saved."""
    with drawing.style():
        made = dict(plots._figures(test_set, [METRIC], x, latency or {}))
        for figure in made.values():
            figure.draw_without_rendering()
    return made


def lines(axes):
    """Data of every series by its label."""
    return {c.get_label(): c.lines[0].get_xydata().tolist() for c in axes.containers}


# ---- where the axes go --------------------------------------------------------------------------


def test_the_numeric_axis_with_most_values_is_x():
    points = grid(encoder=["a", "b", "c", "d"], length=[5, 10], rate=[0.1, 0.2, 0.3], same=[1])
    assert choose_layout(points) == Layout("rate", "encoder", ("length",))
    assert choose_layout(points, "length") == Layout("length", "encoder", ("rate",))
    assert choose_layout(points, "same").x == "rate"  # it does not vary here
    assert choose_layout(grid(encoder=["a", "b"], on=[True, False])) == Layout(
        None, "encoder", ("on",)
    )
    assert choose_layout(points[:1]) == Layout(None, None)
    assert choose_layout([]) == Layout(None, None)
    with pytest.raises(
        ConfigError, match=r"--x=encoder is not an axis of numbers; use one of rate"
    ):
        choose_layout(points, "encoder")


def test_an_axis_that_some_points_lack_is_not_x():
    points = [*grid(length=[5, 10]), measured("own", NOISE[0], run="own")]
    assert choose_layout(points).x is None


def test_an_unknown_axis(tmp_path):
    with pytest.raises(
        ConfigError, match=r"--x=lenght is no axis of these points; use one of leng"
    ):
        plots.draw([of_points(*grid(length=[5, 10]))], [METRIC], tmp_path, "lenght")


# ---- what is drawn ------------------------------------------------------------------------------


def test_a_line_a_series_with_intervals_and_baselines():
    points = grid(encoder=["bow", "cnn"], length=[20, 5, 10])
    figure = figures(of_points(*points, POPULARITY))[f"{METRIC}_by_length"]
    (axes,) = figure.axes
    drawn = lines(axes)
    assert list(drawn) == ["bow", "cnn"]
    means = {m.name: m.estimates[METRIC].mean for m in points}
    for encoder, line in drawn.items():
        assert [y for _, y in line] == [means[f"encoder={encoder},length={n}"] for n in (5, 10, 20)]
        assert [x for x, _ in line] == pytest.approx([5, 10, 20], rel=0.05)
    bars = axes.containers[0].lines[2][0].get_segments()
    assert bars[0][:, 1] == pytest.approx(points[1].estimates[METRIC].interval)
    (dashed,) = [line for line in axes.lines if line.get_label() == "popularity"]
    assert dashed.get_ydata()[0] == pytest.approx(POPULARITY.estimates[METRIC].mean)
    assert dashed.get_linestyle() == "--"
    (legend,) = figure.legends
    assert [entry.get_text() for entry in legend.get_texts()] == ["bow", "cnn", "popularity"]
    looks = [(c.lines[0].get_color(), c.lines[0].get_marker()) for c in axes.containers]
    assert len({color for color, _ in looks}) == len({marker for _, marker in looks}) == 2


def test_further_axes_are_panels():
    made = figures(of_points(*grid(length=[5, 10, 20], encoder=["a", "b"], dim=[8, 16])))
    assert [a.get_title() for a in made[f"{METRIC}_by_length"].axes] == ["dim=8", "dim=16"]


def test_more_than_nine_panels_are_two_figures():
    many = grid(length=[5, 10, 20, 40], a=list("xyz"), b=list("xy"), c=list("xy"), d=list("xyz"))
    made = figures(of_points(*many))
    names = [f"{METRIC}_by_length", f"{METRIC}_by_length_2"]
    assert [len(made[name].axes) for name in names] == [9, 3]


def test_points_without_numbers_are_dots_best_on_top():
    points = grid(encoder=["bow", "cnn"])
    figure = figures(of_points(*points, POPULARITY))[f"{METRIC}_by_point"]
    (axes,) = figure.axes
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert shown == ["popularity", "encoder=bow", "encoder=cnn"]
    xs = [c.lines[0].get_xdata()[0] for c in axes.containers]
    assert xs == sorted(xs)


def test_bytes_and_latency():
    points = grid(encoder=["bow", "cnn"], length=[5, 10])
    made = figures(
        of_points(*points), latency={"encoder=bow,length=5": 3.0, "encoder=bow,length=10": 30.0}
    )
    by_bytes = made[f"{METRIC}_by_bytes"].axes[0]
    assert [x for x, _ in lines(by_bytes)["cnn"]] == pytest.approx([1.000002, 1.000003])
    assert by_bytes.get_xscale() == "linear"
    by_latency = made[f"{METRIC}_by_latency"].axes[0]
    assert [x for x, _ in lines(by_latency)["bow"]] == [3.0, 30.0]
    assert by_latency.get_xscale() == "log"
    without = [measured("a", NOISE[0], encoder="a"), measured("b", NOISE[1], encoder="b")]
    assert list(figures(of_points(*without))) == [f"{METRIC}_by_point"]


def curve(tmp_path, name, *values_of_seeds):
    """A point whose seeds have these validation values."""
    point = measured(name, NOISE[0], encoder=name)
    runs = []
    for seed, values in enumerate(values_of_seeds):
        folder = tmp_path / f"{name}{seed}"
        folder.mkdir()
        rows = [
            f'{{"step": {e}, "split": "validation", "epoch": {e}, "protocol": "random", '
            f'"metrics": {{"ndcg@10": {v}}}}}\n'
            for e, v in enumerate(values, 1)
        ]
        (folder / "metrics.jsonl").write_text("".join(rows))
        config = {"train": {"select_metric": "ndcg@10"}}
        first = point.point.runs[0]
        runs.append(dataclasses.replace(first, folder=folder, seed=seed, row={"config": config}))
    return dataclasses.replace(point, point=dataclasses.replace(point.point, runs=tuple(runs)))


def test_learning_curves(tmp_path):
    points = [curve(tmp_path, "a", [1, 3, 5, 7], [3, 5]), curve(tmp_path, "b", [2, 2, 2])]
    figure = figures(of_points(*points))["learning_curves"]
    (axes,) = figure.axes
    solid, dotted, other, _ = axes.lines
    assert solid.get_xydata().tolist() == [[1, 2], [2, 4]]  # as far as both seeds
    assert dotted.get_xydata().tolist() == [[2, 4], [3, 5], [4, 7]]
    assert dotted.get_linestyle() == ":"
    assert other.get_xydata().tolist() == [[1, 2], [2, 2], [3, 2]]
    (band,) = axes.collections
    low, high = band.get_paths()[0].get_extents().get_points()
    assert (low.tolist(), high.tolist()) == ([1, 1], [2, 5])
    assert axes.get_ylabel() == "validation\nndcg@10"


def test_one_epoch_is_no_curve(tmp_path):
    assert "learning_curves" not in figures(of_points(curve(tmp_path, "a", [1])))


# ---- legible ------------------------------------------------------------------------------------


def boxes(texts, figure):
    renderer = figure.canvas.get_renderer()
    return [t.get_window_extent(renderer) for t in texts if t.get_text() and t.get_visible()]


def wide_names():
    return [
        *grid(
            context_length=[5, 10, 20, 50],
            encoder=["bow", "cnn"],
            hidden_units=[8, 16],
            embedding_dim=[16, 32],
        ),
        *(
            measured(f"a baseline of a long name {i}", NOISE[i] + 0.2, kind="baseline", baseline=i)
            for i in range(5)
        ),
    ]


@pytest.mark.parametrize(
    "points",
    [
        wide_names(),
        [*grid(rate=[1e-4, 2e-4, 1e-3, 0.1, 0.11, 1.0], encoder=["bow", "cnn"]), POPULARITY],
        [*grid(encoder=["bow", "cnn"], loss=["global_softmax", "batch_softmax"]), POPULARITY],
        [*grid(length=[1, 1000])],
    ],
)
def test_no_label_is_cut_off_or_runs_into_another(points):
    for name, figure in figures(of_points(*points)).items():
        inside = figure.bbox.padded(1)
        legend = [text for legend in figure.legends for text in legend.get_texts()]
        for axes in figure.axes:
            ticks = boxes(axes.get_xticklabels(), figure)
            ticks = [
                box
                for box in ticks
                if axes.bbox.x0 - 2 <= (box.x0 + box.x1) / 2 <= axes.bbox.x1 + 2
            ]
            assert not any(a.overlaps(b) for a, b in itertools.combinations(ticks, 2)), name
            labels = boxes([axes.xaxis.label, axes.yaxis.label, axes.title], figure)
            for box in ticks + labels + boxes(legend, figure):
                assert all(inside.contains(x, y) for x, y in box.corners()), name
            for box in boxes(legend, figure):
                assert not axes.bbox.overlaps(box), name
        titles = boxes([axes.title for axes in figure.axes], figure)
        assert not any(a.overlaps(b) for a, b in itertools.combinations(titles, 2)), name
        assert figure.get_figwidth() in (3.3, 6.9)


def test_names_are_no_formulas(tmp_path):
    points = [measured(n, NOISE[i], encoder=n) for i, n in enumerate(["a$_$b$", r"\frac{", "_x"])]
    names = plots.draw([of_points(*points)], [METRIC], tmp_path)
    assert names == ["recall_at_10_by_point.png", "recall_at_10_by_point.svg"]


def test_the_same_data_give_the_same_bytes(tmp_path):
    test_set = of_points(*grid(encoder=["bow", "cnn"], length=[5, 10]), POPULARITY)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        names = plots.draw([test_set], [METRIC], tmp_path / folder)
    assert len(names) == 4
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    png = (tmp_path / "a" / names[0]).read_bytes()
    assert int.from_bytes(png[16:20], "big") == 660  # 3.3 inches at 200 dpi
