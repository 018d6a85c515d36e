"""The oracle against numbers of the reference itself.

Arrays agree when |a - b| <= 1e-6 + rtol * max|b|, with rtol 1e-5 forward and 1e-4 for gradients and
weights after steps (the contract's equality).
"""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.places import GOLDEN

tf = pytest.importorskip("tensorflow", reason="the oracle is written in TensorFlow")

from tests.support.oracle import Oracle, batch_softmax, clip_norm_of, global_softmax  # noqa: E402
from tests.support.oracle_metrics import Metrics  # noqa: E402

COPIES = Path(__file__).parent / "golden"
FOLDERS = [folder for folder in (COPIES, GOLDEN) if folder.is_dir()]
FILES = {file.stem: file for folder in reversed(FOLDERS) for file in folder.glob("*.npz")}
CASES = FILES.pop("metrics_cases", None)

FORWARD, BACKWARD, SCORES = 1e-5, 1e-4, 1e-6


class Case:
    """A golden, the oracle with its weights, and what both compute."""

    def __init__(self, file: Path):
        self.notes = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        with np.load(file) as archive:
            self.arrays = dict(archive)
        self.labels = tf.constant(self.arrays["labels"][:, 0])
        self.features = {name: tf.constant(x) for name, x in self.under("in").items()}
        self.oracle = self.new()
        self.train_rows = tf.constant(self.arrays["train_rows"])
        self.ours = self._forward(self.features)

    def under(self, prefix: str) -> dict[str, np.ndarray]:
        start = prefix + "/"
        return {k.removeprefix(start): v for k, v in self.arrays.items() if k.startswith(start)}

    def new(self, **settings) -> Oracle:
        inputs, model = self.notes["input_config"], self.notes["model_config"]
        return Oracle(inputs, model, self.under("w"), **settings)

    @property
    def training(self) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        features = {name: tf.gather(x, self.train_rows) for name, x in self.features.items()}
        return features, tf.gather(self.labels, self.train_rows)

    def _forward(self, features):
        oracle = self.oracle
        return {
            "groups": [oracle.group(i, features) for i in range(len(oracle.groups))],
            "context": oracle.context(features),
            "logits": oracle.logits(features),
        }


@pytest.fixture(scope="module", params=sorted(FILES) or ["absent"])
def case(request):
    if request.param == "absent":
        pytest.skip(f"there are no golden numbers at {COPIES} or {GOLDEN}")
    return Case(FILES[request.param])


def assert_close(ours, theirs, rtol, what=""):
    ours = np.asarray(tf.convert_to_tensor(ours))
    assert ours.shape == theirs.shape, what
    largest = np.abs(ours - theirs).max(initial=0.0)
    assert largest <= 1e-6 + rtol * np.abs(theirs).max(initial=0.0), f"{what}: {largest}"


def assert_all_close(ours, theirs, rtol):
    assert set(ours) == set(theirs)
    for name in theirs:
        assert_close(ours[name], theirs[name], rtol, name)


def test_forward(case):
    theirs = case.under("group_out")
    assert len(case.ours["groups"]) == len(theirs)
    for i, ours in enumerate(case.ours["groups"]):
        assert_close(ours, theirs[str(i)], FORWARD, f"group {i}")
    assert_close(case.ours["context"], case.arrays["context_embedding"], FORWARD)
    assert_close(case.ours["logits"], case.arrays["logits"], FORWARD)


@pytest.mark.parametrize("loss", [global_softmax, batch_softmax])
def test_losses(case, loss):
    ours = loss(case.ours["logits"], case.labels)
    assert_close(ours, case.arrays[f"loss/{loss.__name__}"], FORWARD)


def test_metrics(case):
    metrics = Metrics(case.notes["model_config"]["eval_top_k"])
    metrics.update(case.ours["logits"], case.labels)
    assert list(metrics.result()) == list(case.notes["metrics_16rows"])
    assert metrics.result() == pytest.approx(case.notes["metrics_16rows"], rel=FORWARD)


def test_gradients_and_the_norms_they_are_clipped_by(case):
    loss, _, gradients = case.oracle.gradients(*case.training)
    assert_close(loss, case.arrays["train/loss"], FORWARD)
    assert_all_close(gradients, case.under("g"), BACKWARD)
    norms = {name: clip_norm_of(gradient) for name, gradient in gradients.items()}
    assert_all_close(norms, case.under("gnorm_used_for_clip"), BACKWARD)
    for name, gradient in gradients.items():
        slices = gradient.indices.shape[0] if isinstance(gradient, tf.IndexedSlices) else None
        assert slices == case.notes["clip"][name]["n_slices"], name


def test_gradients_are_lost_where_the_references_are(case):
    """Rows 14 and 15 are padding only: a bag of words divides 0 by 0 going back."""
    _, _, gradients = case.oracle.gradients(case.features, case.labels)
    lost = {n: bool(np.isnan(tf.convert_to_tensor(g)).any()) for n, g in gradients.items()}
    assert lost == case.notes["nan_gradients_on_all_16_rows"]


def test_five_steps(case):
    settings = case.notes["optimizer"]
    oracle = case.new(learning_rate=settings["lr"], clip_norm=settings["clipnorm"])
    losses = []
    for number in range(1, 7):
        losses.append(oracle.train_step(*case.training)[0])
        if number in (1, 5):
            assert_all_close(oracle.numpy(), case.under(f"w_after{number}"), BACKWARD)
    assert_close(tf.stack(losses), case.arrays["train/step_losses"], FORWARD)


def test_a_step_with_clipping_that_bites(case):
    oracle = case.new(learning_rate=case.notes["optimizer"]["lr"], clip_norm=0.02)
    oracle.train_step(*case.training)
    assert_all_close(oracle.numpy(), case.under("w_after1_clip0.02"), BACKWARD)


def test_serve(case):
    names = {feature["name"] for feature in case.notes["serving_inputs"]}
    for row in range(len(case.labels)):
        ids, scores = case.oracle.serve({name: case.features[name][row] for name in names})
        theirs = {key: value[row] for key, value in case.under("serve").items()}
        assert ids.dtype == tf.int32
        np.testing.assert_allclose(scores, theirs["top_prediction_scores"], atol=SCORES)
        # Ids may differ where the scores hardly do.
        of_their_ids = tf.sigmoid(tf.gather(case.ours["logits"][row], theirs["top_prediction_ids"]))
        np.testing.assert_allclose(scores, of_their_ids, atol=SCORES)


# ---- what one golden each does not show -----------------------------------------------------


def test_metrics_of_three_batches():
    if CASES is None:
        pytest.skip("there is no metrics_cases.npz")
    notes = json.loads(CASES.with_suffix(".json").read_text(encoding="utf-8"))
    whole, alone = Metrics([1, 5, 10, 20]), Metrics([1, 5, 10, 20])
    with np.load(CASES) as arrays:
        for i, expected in enumerate(notes["batches"]):
            batch = tf.constant(arrays[f"logits{i}"]), tf.constant(arrays[f"labels{i}"][:, 0])
            whole.update(*batch)
            alone.reset()
            alone.update(*batch)
            assert alone.result() == pytest.approx(expected["metrics"], rel=FORWARD)
            for loss in (global_softmax, batch_softmax):
                assert_close(loss(*batch), np.float32(expected[loss.__name__]), FORWARD)
    assert whole.result() == pytest.approx(notes["accumulated"], rel=FORWARD)


def test_a_bag_without_ids_takes_all_rows_of_its_batch_with_it():
    """By the norm that clips: NaN over all slices, so also where the other example's ids went."""
    inputs = {
        "activity_feature_groups": [{"features": [table("a", 6, 3)]}],
        "label_feature": table("label", 5, 4),
    }
    oracle = Oracle(inputs, {"hidden_layer_dims": []}, clip_norm=1.0)
    oracle.train_step({"a": tf.constant([[2, 3], [0, 0]])}, tf.constant([1, 2]))
    lost = np.isnan(oracle.weights["group0/embedding/a"]).all(axis=1)
    assert lost.tolist() == [True, False, True, True, False, False]


def table(name, rows, width):
    return {"feature_name": name, "vocab_size": rows, "embedding_dim": width}


def test_a_label_outside_the_table_has_no_loss():
    logits = tf.zeros((2, 4))
    assert float(global_softmax(logits, tf.constant([1, 9]))) == pytest.approx(np.log(4) / 2)


def test_a_cut_off_above_the_batch_is_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError):
        Metrics([3]).update(tf.zeros((2, 4)), tf.constant([0, 1]))


def test_initial_values(case):
    """Against statistics of the reference's: deviations within 5 standard errors."""
    inputs, model = case.notes["input_config"], case.notes["model_config"]
    values = Oracle(inputs, model, seed=3).numpy()
    again, other = Oracle(inputs, model, seed=3).numpy(), Oracle(inputs, model, seed=4).numpy()
    for name, theirs in case.notes["init_stats_before_bias_noise"].items():
        ours = values[name]
        np.testing.assert_array_equal(ours, again[name])
        assert list(ours.shape) == theirs["shape"]
        if name.endswith("bias"):
            assert ours.mean() == pytest.approx(theirs["mean"])  # LSTM: a quarter is 1
            continue
        assert not np.array_equal(ours, other[name])
        if ours.size >= 500 and not name.endswith("recurrent_kernel"):
            assert ours.std() == pytest.approx(theirs["std"], rel=5 / np.sqrt(ours.size))
            assert np.abs(ours).max() <= largest_value(name, ours.shape) * (1 + 1e-6)


def largest_value(name, shape):
    """Two deviations of an embedding, Glorot's limit of a kernel."""
    if "embedding" in name:
        return 2 * shape[1] ** -0.5
    window = int(np.prod(shape[:-2]))
    return (6 / (window * (shape[-2] + shape[-1]))) ** 0.5
