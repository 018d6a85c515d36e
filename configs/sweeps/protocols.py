"""The same model under three protocols, and how much a random split inflates metrics. MovieLens-1M.

'random' is the reference's split. The three values of `later` share 0.5% of the labels as test:
'keep' also trains on each user's later labels, 'drop' does not, and 'match' drops as many of the
user's labels at random. 'match' minus 'drop' is the gain from training on later labels.

python -m flaxrec.sweep --sweep=configs/sweeps/protocols.py --workdir=DIR [--config.data.path=ML-1M]
"""

from collections.abc import Callable

from flaxrec.config.presets import example_network


def sweep(add: Callable[..., None]) -> None:
    """2 encoders, 3 seeds; 3 protocols and 3 treatments of later labels."""
    for encoder in ("bow", "lstm"):
        for protocol in ("leave_one_out", "global_time", "random"):
            config = example_network(encoder, None)
            config.split.protocol = protocol
            config.evaluation.batch_size = 2048
            add(config, seeds=3, encoder=encoder, protocol=protocol, later="keep", test="10%")
        for later in ("keep", "match", "drop"):
            config = example_network(encoder, None)
            config.split.protocol, config.split.later = "random", later
            config.split.test_fraction = config.split.validation_fraction = 0.005
            config.evaluation.batch_size = 2048
            add(config, seeds=3, encoder=encoder, protocol="random", later=later, test="0.5%")
