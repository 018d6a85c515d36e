"""Compares the stages of one golden configuration, in the data's order."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flaxrec import config as config_lib
from flaxrec.data.contexts import DeviceTimelines
from flaxrec.data.records import example_arrays, tfrecord
from flaxrec.data.records.example_arrays import RecordFeature
from flaxrec.errors import show_unforeseen
from flaxrec.exporting import ranked_lists, serving_form
from flaxrec.models import dual_encoder
from flaxrec.models.dual_encoder import DualEncoder, Params
from flaxrec.models.encoders.lstm import LstmEncoder
from flaxrec.reference import goldens, input_config, logged_metrics, weights
from flaxrec.reference.distances import (
    BACKWARD,
    DEVIATIONS,
    FORWARD,
    LISTS,
    Measured,
    Missing,
    Row,
    by_name,
    close,
    equal,
    failed_row,
    measured_row,
    worst,
)
from flaxrec.reference.goldens import Golden
from flaxrec.scoring import losses
from flaxrec.tflite.metadata import IDS, SCORES
from flaxrec.training import optimizers
from flaxrec.training.steps import Steps, Targets, TrainState, make_scan, ones_of


def configuration(folder: Path, name: str) -> Iterator[Row]:
    """Compares everything in the files of a golden; yields a row for each stage."""
    try:
        case = Case(folder, goldens.load(folder, name))
    except Exception as error:  # a description may be wrong in unexpected ways
        show_unforeseen(error)
        yield failed_row(name, "load", error)
        return
    for stage, measure in case.stages().items():
        yield measured_row(name, stage, measure)


class Case:
    """A golden and flaxrec's numbers for it, each computed once, when first needed."""

    def __init__(self, folder: Path, golden: Golden):
        self.folder, self.golden = folder, golden
        self.structure = dual_encoder.structure_of(golden.config, golden.spec)

    def stages(self) -> dict[str, Callable[[], Measured]]:
        """The comparisons by stage, in the data's order."""
        groups = range(len(list(config_lib.groups(self.golden.config.model))))
        return {
            "config": self._config,
            "examples": self._examples,
            "weights": self._weights,
            "initialisers": self._initialisers,
            **{
                f"group_out/{i}": functools.partial(self._computed, f"group_out/{i}")
                for i in groups
            },
            "context_embedding": lambda: self._computed("context_embedding"),
            "logits": lambda: self._computed("logits"),
            "loss/global_softmax": lambda: self._loss("global_softmax"),
            "loss/batch_softmax": lambda: self._loss("batch_softmax"),
            "metrics": self._metrics,
            "train/loss": lambda: self._near(self.on_train_rows[0], "train/loss"),
            "gradients": self._gradients,
            "clip_norms": self._clip_norms,
            "nan_gradients": self._nan_gradients,
            "train/step_losses": self._step_losses,
            "w_after1": lambda: self._weights_after("w_after1", self.trained[0][0]),
            "w_after1_clip0.02": lambda: self._weights_after(
                "w_after1_clip0.02", self.trained_clipped[0]
            ),
            "w_after5": lambda: self._weights_after("w_after5", self.trained[0][4]),
            "serve": lambda: self._lists("serve", self.forward["logits"]),
            "serving_graph": lambda: self._lists("serve", self.forward["serving_logits"]),
            "tflite_out": lambda: self._lists("tflite_out", self.forward["logits"]),
            "tflite_out_consecutive": lambda: self._lists(
                "tflite_out_consecutive", self.forward["leaking_logits"]
            ),
        }

    # -- flaxrec's numbers

    @functools.cached_property
    def params(self) -> Params:
        return weights.from_reference(self.golden.under("w"), self.structure.shapes)

    @functools.cached_property
    def initial(self) -> dict[str, np.ndarray]:
        """Our initial weights, by the reference's names."""
        _, params = dual_encoder.create(self.golden.config, self.golden.spec)
        return weights.to_reference(jax.device_get(params))

    @functools.cached_property
    def forward(self) -> dict[str, Any]:
        return jax.device_get(self._forward(self.params, self.golden.features))

    @functools.cached_property
    def _forward(self) -> Callable[[Params, dict[str, np.ndarray]], dict[str, Any]]:
        def forward(params: Params, features: dict[str, jax.Array]) -> dict[str, Any]:
            model = self.structure.merge(params)
            encodings = [group(features) for group in model.context_encoder.groups]
            context = model.context_encoder.combine(encodings)
            labels = model.label_encoder.all()
            return {
                **{f"group_out/{i}": encoding for i, encoding in enumerate(encodings)},
                "context_embedding": context,
                "logits": model.score(context, labels),
                "serving_logits": serving_form.logits(
                    self.structure, params, features, self.golden.spec
                ),
                "leaking_logits": model.score(_leaking_context(model, features), labels),
            }

        return jax.jit(forward)

    def gradients(self, rows: np.ndarray) -> tuple[float, dict, dict]:
        """Loss over some rows, gradients and clip norms (both by the reference's names)."""
        share = np.zeros(len(self.golden.labels), np.float32)
        share[rows] = 1 / len(rows)
        examples = self.golden.features, self.golden.labels
        taps = self.structure.zero_taps()
        value, (gradients, squares) = self._gradients_of(self.params, taps, share, *examples)
        norms = {n: np.linalg.norm(g) for n, g in jax.device_get(gradients).items()}
        norms |= {n: np.sqrt(square) for n, square in jax.device_get(squares).items()}
        named = {weights.reference_name(n): norm for n, norm in norms.items()}
        return float(value), weights.to_reference(gradients), named

    @functools.cached_property
    def _gradients_of(self) -> Callable[..., tuple[jax.Array, tuple[Params, Params]]]:
        def loss(
            params: Params,
            taps: Params,
            share: jax.Array,
            features: dict[str, jax.Array],
            labels: jax.Array,
        ) -> jax.Array:
            logits = self.structure.merge(params, taps).logits(features)
            return jnp.sum(share * losses.global_softmax.cross_entropy(logits, labels))

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))

    @functools.cached_property
    def on_train_rows(self) -> tuple[float, dict, dict]:
        return self.gradients(self.golden.array("train_rows"))

    @functools.cached_property
    def trained(self) -> tuple[list[dict], list[float]]:
        """Weights after each of six steps of the training loop, and the loss before each."""
        return self._train(self._steps, steps=6)

    @functools.cached_property
    def trained_clipped(self) -> list[dict]:
        """Weights after a step that clips at 0.02."""
        return self._train(self._clipped_steps, steps=1)[0]

    @functools.cached_property
    def _steps(self) -> tuple[Callable[[Params], TrainState], Steps]:
        return self._compiled_steps(self.golden.note("optimizer")["clipnorm"])

    @functools.cached_property
    def _clipped_steps(self) -> tuple[Callable[[Params], TrainState], Steps]:
        return self._compiled_steps(0.02)

    def _compiled_steps(self, clip_norm: float) -> tuple[Callable[[Params], TrainState], Steps]:
        """Parameters -> the first state, in memory of its own; and the training loop's scan."""
        config = self.golden.config
        optimizer = optimizers.make_optimizer(  # at a constant rate, whatever the number of steps
            dataclasses.replace(config.optimizer, clip="per_parameter", clip_norm=clip_norm), 1
        )

        def first(params: Params) -> TrainState:
            return TrainState(jax.tree.map(jnp.copy, params), optimizer.init(params))

        return jax.jit(first), make_scan(self.structure, self.golden.spec, config, optimizer)

    def _train(
        self, compiled: tuple[Callable[[Params], TrainState], Steps], steps: int
    ) -> tuple[list[dict], list[float]]:
        first, scan = compiled
        n = len(self.golden.labels)
        columns = {name: (values, None) for name, values in self.golden.features.items()}
        arange, labels = np.arange(n + 1, dtype=np.int32), self.golden.labels
        # On the host; `device_put` compiles nothing.
        data = jax.device_put(
            DeviceTimelines(arange, arange[:-1], labels, np.ones(n, bool), columns)  # type: ignore[arg-type]
        )
        positions = jnp.asarray(self.golden.array("train_rows"), jnp.int32)[None]
        batches = ones_of(positions)
        targets = Targets(jnp.zeros(self.golden.spec.candidates))
        state, after, step_losses = first(self.params), [], []
        for _ in range(steps):
            state, loss = scan(state, data, targets, batches)
            after.append(weights.to_reference(jax.device_get(state.params)))
            step_losses.append(float(loss[0]))
        return after, step_losses

    # -- stages

    def _config(self) -> Measured:
        """The text proto, the serving inputs and the checkpoint's variables match our model."""
        spec, shapes = self.golden.spec, weights.to_reference(_zeros(self.structure.shapes))
        inputs = {i.name: ([i.length], i.dtype) for i in spec.inputs}
        serving = {i["name"]: (i["shape"], i["dtype"]) for i in self.golden.note("serving_inputs")}
        parsed = input_config.parse(
            self.golden.note("input_config_pbtxt"), f"{self.golden.name}.json"
        )
        top_k = self.golden.note("model_config")["num_predictions"]
        pairs: dict[str, tuple[Any, Any]] = {
            "input_config_pbtxt": (parsed, self.golden.note("input_config")),
            "serving_inputs": (inputs, serving),
            "weight_order": (sorted(shapes), sorted(self.golden.note("weight_order"))),
            "num_predictions": (top_k, self.golden.array("serve/top_prediction_ids").shape[1]),
            "saved_model_outputs": (
                {IDS: [[top_k], "int32"], SCORES: [[top_k], "float32"]},
                self.golden.note("saved_model_outputs"),
            ),
        }
        order, recorded = (
            self.golden.note("weight_order"),
            dict(self.golden.note("checkpoint_variables")),
        )
        hidden = len(self.golden.config.model.hidden_dims)
        for place, name in enumerate(order, 1):
            shape = list(shapes[name].shape)
            own = weights.checkpoint_name(name, hidden)
            for variable in (own, f"optimizer/_variables/{place}"):
                found = recorded.get(variable + weights.CHECKPOINT_SUFFIX)
                pairs[f"checkpoint {variable}"] = (shape, found)
        return equal(pairs)

    def _examples(self) -> Measured:
        """Raw examples, looked up and padded, equal the model's inputs."""
        features, label = self._record_features()
        sources = {}
        if "raw_examples" in self.golden.notes:
            sources["raw_examples"] = [
                goldens.as_record(e) for e in self.golden.note("raw_examples")
            ]
        records = self.folder / f"{self.golden.name}.tfrecord"
        if records.exists():
            sources[records.name] = list(tfrecord.read(records))
        if not sources:
            raise Missing(f"raw_examples (json) or {records.name}")
        measured = []
        for source, raw in sources.items():
            parsed, labels = example_arrays.parse(raw, features, label, source)
            pairs = {n: (parsed[n], self.golden.array(f"in/{n}")) for n in parsed}
            pairs["labels"] = (labels, self.golden.array("labels")[:, 0])
            if f"in/{label.name}" in self.golden.arrays:
                pairs[f"in/{label.name}"] = (labels[:, None], self.golden.array(f"in/{label.name}"))
            counts = {n: _differences(*pair) for n, pair in pairs.items()}
            most = max(counts, key=lambda n: counts[n])
            remark = f"differs: {most} ({source})" if counts[most] else ", ".join(sources)
            measured.append(Measured(float(sum(counts.values())), 0.0, remark))
        return worst(measured)

    def _record_features(self) -> tuple[list[RecordFeature], RecordFeature]:
        inputs = self.golden.note("input_config")
        features = [f for _, group in input_config.groups(inputs) for f in group["features"]]
        found = {f["feature_name"]: self._record_feature(f) for f in features}
        return list(found.values()), self._record_feature(inputs["label_feature"])

    def _record_feature(self, feature: dict[str, Any]) -> RecordFeature:
        vocabulary = None
        if feature.get("vocab_name"):
            path = self.folder / "vocab" / feature["vocab_name"]
            if not path.exists():
                raise Missing(f"vocab/{feature['vocab_name']}")
            vocabulary = example_arrays.read_vocabulary(path)
        return RecordFeature(
            feature["feature_name"],
            input_config.feature_type(feature),
            feature["feature_length"],
            feature.get("vocab_size", 0),
            vocabulary,
        )

    def _weights(self) -> Measured:
        """Names and shapes fit, both ways; recorded statistics match the weights."""
        theirs = self.golden.under("w")
        back = weights.to_reference(jax.device_get(self.params))
        exact = equal(by_name(back, theirs))
        pairs: dict[str, tuple[Any, Any]] = {}
        for name, recorded in self.golden.note("init_stats_before_bias_noise").items():
            if name.endswith("/bias"):
                continue  # noise was added to them afterwards
            found = _statistics(theirs[name])
            pairs |= {f"{name} {key}": (found[key], recorded[key]) for key in found}
        return worst([exact, close(pairs, FORWARD)])

    def _initialisers(self) -> Measured:
        """Means and deviations of initial weights, in standard errors; biases exactly."""
        measured = []
        for name, (value, recorded) in by_name(
            self.initial, self.golden.note("init_stats_before_bias_noise")
        ).items():
            found = _statistics(value)
            if name.endswith("/bias"):
                pairs = {f"{name} {key}": (found[key], recorded[key]) for key in found}
                measured.append(close(pairs, FORWARD))
                continue
            error = max(found["std"], 1e-12) / np.sqrt(value.size)
            for key, se in (("mean", error), ("std", error / np.sqrt(2))):
                z = abs(found[key] - recorded[key]) / (se * np.sqrt(2))
                measured.append(Measured(float(z), DEVIATIONS, f"{name} {key}"))
        return worst(measured)

    def _near(self, ours: Any, key: str, *noted: Any) -> Measured:
        """Compares ours with an array of the golden and with its value in the JSON, if any."""
        theirs = zip(("", "json"), (self.golden.array(key), *noted), strict=False)
        return close({name: (ours, value) for name, value in theirs}, FORWARD)

    def _computed(self, key: str) -> Measured:
        return self._near(self.forward[key], key)

    def _loss(self, name: str) -> Measured:
        mean = logged_metrics.mean_loss(name, self.forward["logits"], self.golden.labels)
        return self._near(mean, f"loss/{name}", self.golden.note("losses")[name])

    def _metrics(self) -> Measured:
        """Uses the reference's own logits, so that a near tie cannot change a rank."""
        logits, labels = self.golden.array("logits"), self.golden.labels
        ks = self.golden.note("model_config")["eval_top_k"]
        ours = logged_metrics.running([(logits, labels)], ks)
        loss = logged_metrics.mean_loss("global_softmax", logits, labels)
        position = logged_metrics.label_position(logits, labels).mean()
        extra = {"true_global_mean_rank_0based": position}
        pairs = by_name(ours, self.golden.note("metrics_16rows"))
        pairs |= by_name(extra, self.golden.note("metrics_extra"))
        evaluated = by_name(ours | {"loss": loss}, self.golden.note("model_evaluate_16rows"))
        pairs |= {f"evaluate {name}": pair for name, pair in evaluated.items()}
        return close(pairs, FORWARD)

    def _gradients(self) -> Measured:
        return close(by_name(self.on_train_rows[1], self.golden.under("g")), BACKWARD)

    def _clip_norms(self) -> Measured:
        _, gradients, norms = self.on_train_rows
        pairs = by_name(norms, self.golden.under("gnorm_used_for_clip"))
        notes = self.golden.note("clip")
        exact: dict[str, tuple[Any, Any]] = {}
        rows = len(self.golden.array("train_rows"))
        lookups = {i.name: rows * i.length for i in self.golden.spec.inputs}
        lookups["label_embedding"] = self.golden.spec.candidates  # all of them, once
        for name in norms:
            if name not in notes:
                raise Missing(f"clip {name} (json)")
            pairs[f"{name} slices"] = (norms[name], notes[name]["norm_slices"])
            pairs[f"{name} dense"] = (np.linalg.norm(gradients[name]), notes[name]["norm_dense"])
            slices = lookups.get(name.partition("/embedding/")[2] or name)
            exact[f"{name} n_slices"] = (slices, notes[name]["n_slices"])
            exact[f"{name} indexed_slices"] = (slices is not None, notes[name]["indexed_slices"])
        return worst([close(pairs, BACKWARD), equal(exact)])

    def _nan_gradients(self) -> Measured:
        """Ours are finite on all rows; the reference's are NaN where a bag of words is empty."""
        _, gradients, _ = self.gradients(np.arange(len(self.golden.labels)))
        pairs = {
            f"{name} (ours)": (bool(np.isfinite(g).all()), True) for name, g in gradients.items()
        }
        pairs |= by_name(self._expected_nan(), self.golden.note("nan_gradients_on_all_16_rows"))
        return equal(pairs)

    def _expected_nan(self) -> dict[str, bool]:
        expected = dict.fromkeys(weights.to_reference(self.params), False)
        for i, (_, group) in enumerate(input_config.groups(self.golden.note("input_config"))):
            embedded = [
                f["feature_name"]
                for f in group["features"]
                if input_config.feature_type(f) != "FLOAT"
            ]
            if group.get("encoder_type", "BOW") == "BOW" and embedded:
                present = np.all([self.golden.features[name] != 0 for name in embedded], axis=0)
                empty = bool((~present.any(axis=1)).any())
                expected |= {f"group{i}/embedding/{name}": empty for name in embedded}
        return expected

    def _step_losses(self) -> Measured:
        _, step_losses = self.trained
        recorded = self.golden.note("step_losses")
        return self._near(np.asarray(step_losses), "train/step_losses", recorded)

    def _weights_after(self, key: str, after: dict[str, np.ndarray]) -> Measured:
        return close(by_name(after, self.golden.under(key)), BACKWARD)

    def _lists(self, prefix: str, logits: np.ndarray) -> Measured:
        ids = self.golden.array(f"{prefix}/top_prediction_ids")
        scores = self.golden.array(f"{prefix}/top_prediction_scores")
        if len(ids) != len(logits) or ids.shape != scores.shape:
            return Measured(np.inf, LISTS, f"{prefix}: {list(ids.shape)} ids")
        differences = [
            ranked_lists.list_difference(ids[row], scores[row], logits[row], LISTS)
            for row in range(len(logits))
        ]
        row = int(np.argmax(differences))
        return Measured(float(differences[row]), LISTS, f"example {row}")


def _leaking_context(model: DualEncoder, features: dict[str, jax.Array]) -> jax.Array:
    """[B, D] as the exported reference gives it without a reset of its LSTM's state."""
    encodings = []
    for group in model.context_encoder.groups:
        if not isinstance(group.encoder, LstmEncoder):
            encodings.append(group(features))
            continue
        x, mask = group.features(features)
        batch, length, channels = x.shape
        one_sequence = x.reshape(1, batch * length, channels), mask.reshape(1, batch * length)
        states = group.encoder(*one_sequence, every_position=True)
        encodings.append(states[0, length - 1 :: length])
    return model.context_encoder.combine(encodings)


def _differences(a: np.ndarray, b: np.ndarray) -> int:
    return int((a != b).sum()) if a.shape == b.shape else max(a.size, b.size, 1)


def _zeros(shapes: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, np.ndarray]:
    return {name: np.zeros(shape.shape, shape.dtype) for name, shape in shapes.items()}


def _statistics(value: np.ndarray) -> dict[str, Any]:
    keys = ("mean", "std", "min", "max")
    return {key: float(getattr(value, key)()) for key in keys} | {"shape": list(value.shape)}
