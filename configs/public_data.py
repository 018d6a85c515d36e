"""Public data sets as papers use them, from their files to a model.

    python train_main.py --config=configs/public_data.py:beauty --config.data.path=Beauty.txt

You give the path; only MovieLens is downloaded. Test figures, leave-one-out, full ranking, seen
items left out, recall@10 / NDCG@10:

| variant | config.data.path (and items_path) | published | this config |
|---|---|---|---|
| `beauty` | S3-Rec's Beauty.txt (Beauty_item2attributes.json) | .0928 / .0531 | .1084 / .0656 |
| `sports` | Sports_and_Outdoors.txt (..._item2attributes.json) | .0569 / .0323 | .0689 / .0413 |
| `toys` | Toys_and_Games.txt (..._item2attributes.json) | .0970 / .0580 | .1203 / .0761 |
| `lastfm` | LastFM.txt (LastFM_item2attributes.json) | none in full ranking | not measured |
| `steam` | RecBole's steam.inter, with steam.item beside it | none so | not measured |
| `ml-20m` | '' downloads it | .3567 / .2107 | not measured |
| `ml-25m` | '' downloads it | none so | not measured |

Sessions; GRU4Rec's authors test the last days instead, recall@20 / MRR@20:

| variant | config.data.path | published | this config |
|---|---|---|---|
| `yoochoose` | yoochoose-clicks.dat | .6789 / .3024 | not measured |
| `retailrocket` | events.csv | .5186 / .2175 | not measured |
| `diginetica` | train-item-views.csv | .4995 / .1542 | not measured |

Ours: the exported file, seed 0 (docs/recipe.md). Published: the best of each column. Amazon: SASRec
and eSASRec as RecTools measured them. MovieLens-20M: HSTU, which knows the time of asking, and
eSASRec. Sessions are filtered as GRU4Rec's authors do: the first of consecutive repeats, items with
five clicks, sessions with two, again and again;
RetailRocket's sessions end after an hour without a view. A session of two clicks has no training
label here: leave-one-out keeps its last for the test.

Variants: beauty, sports, toys, lastfm, steam, ml-20m (default), ml-25m, yoochoose, retailrocket,
diginetica, smoke (any of them, in seconds, on generated data).
"""

from flaxrec.config import ColumnsConfig, Config, DataConfig
from flaxrec.config.presets import by_data, make_smoke, split_variant

_AMAZON = {"beauty": "Beauty", "sports": "Sports_and_Outdoors", "toys": "Toys_and_Games"}
_SEQUENCES = {**_AMAZON, "lastfm": "LastFM"}
_SESSIONS = ("yoochoose", "retailrocket", "diginetica")
_OTHERS = ("steam", "ml-20m", "ml-25m")
_HOUR = 3_600_000  # ms


def get_config(variant: str | None = None) -> Config:
    """The config; see the module for variants."""
    name, switches = split_variant(variant, (*_SEQUENCES, *_SESSIONS, *_OTHERS))
    name = name or "ml-20m"
    config = by_data("public_data", _data(name))
    if name in _SESSIONS:
        config.evaluation.ks = (1, 5, 10, 20)
    return make_smoke(config) if "smoke" in switches else config


def _data(name: str) -> DataConfig:
    data = DataConfig(source="table", columns=ColumnsConfig())
    columns = data.columns
    if name in _SEQUENCES:
        data.format, data.path = "sequences", f"{_SEQUENCES[name]}.txt"
        data.items_path = f"{_SEQUENCES[name]}_item2attributes.json"
        columns.item_features = columns.multi_valued = ("attributes",)
    elif name in _SESSIONS:
        data.merge_repeats, data.min_item_count, data.min_timeline_length = True, 5, 2
        if name == "yoochoose":  # session, moment, item, category; no header
            data.format, data.path = "csv", "yoochoose-clicks.dat"
            columns.user, columns.time, columns.item = "0", "1", "2"
        elif name == "retailrocket":
            data.path, data.session_gap = "events.csv", _HOUR
            columns.user, columns.item, columns.time = "visitorid", "itemid", "timestamp"
            columns.event_type, data.event_types = "event", ("view",)
        else:  # the time since the session began
            data.path = "train-item-views.csv"
            columns.user, columns.item, columns.time = "sessionId", "itemId", "timeframe"
    elif name == "steam":
        data.format, data.path, data.k_core = "recbole", "steam.inter", 5
        columns.user, columns.item, columns.time = "user_id", "product_id", "timestamp"
        columns.title = "app_name"
    else:
        data.source, data.release = "movielens", name
    return data
