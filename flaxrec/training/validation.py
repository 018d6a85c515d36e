"""Validates a config before anything runs: its fields, encoders and loss."""

from flaxrec.config import Config, groups
from flaxrec.config.own_code import TABLES, table
from flaxrec.config.paths import fit
from flaxrec.config.validation import check_choice, check_fields
from flaxrec.data.moments import SECONDS_AGO
from flaxrec.errors import ConfigError, shown
from flaxrec.models.encoders import ENCODERS, Encoder, known_encoders
from flaxrec.scoring.losses import LOSSES, known_losses


def checked(config: Config) -> Config:
    """A validated copy of a config, with the field types that it has after saving."""
    return validate(fit(Config, config, "config"))


def validate(config: Config) -> Config:
    """Returns the config; raises ConfigError for the first field that cannot be used."""
    check_fields(config)
    for name, shipped in zip(TABLES, (ENCODERS, LOSSES), strict=True):
        for own, entry in table(config.code, name).items():
            where = f"{name} of {config.code.file} has {shown(own)}"
            if not isinstance(own, str):
                raise ConfigError(f"{where}, which is no name; use a text.")
            if own in shipped:
                raise ConfigError(f"{where}, the name of a shipped one; use another name.")
            if name == "ENCODERS" and not (isinstance(entry, type) and issubclass(entry, Encoder)):
                raise ConfigError(f"{where}, which is no subclass of Encoder; derive it from it.")
            if not callable(entry):
                raise ConfigError(f"{where}, which is no function; use a function of a Step.")
    check_choice("loss.name", config.loss.name, tuple(known_losses(config)))
    for name in ("label_smoothing", "exclude_seen"):
        if getattr(config.loss, name) and config.loss.name == "batch_softmax":
            raise ConfigError(
                f"config.loss.{name} is {getattr(config.loss, name)}, but config.loss.name="
                f"{config.loss.name} has no such option; use global_softmax, or leave it out."
            )
    encoders, labels = known_encoders(config), config.train.labels_per_context
    for path, group in groups(config.model):
        check_choice(f"{path}.encoder", group.encoder, tuple(encoders))
        encoder = encoders[group.encoder]
        encoder.check(path, group)
        if any(f.source == SECONDS_AGO for f in group.features) and not encoder.reads_times:
            able = ", ".join(name for name, of in encoders.items() if of.reads_times)
            raise ConfigError(
                f"config.{path} has a feature of the source {SECONDS_AGO}, which its encoder "
                f"{group.encoder} does not read; use event.gap_after, or another encoder ({able})."
            )
        if labels > 1 and not encoder.encodes_prefixes:
            raise ConfigError(
                f"config.train.labels_per_context is {labels}, but the {group.encoder} of config."
                f"{path} has no encoding for every activity; use another encoder, such as "
                "causal_cnn, or 1."
            )
    return config
