"""Where the TensorFlow example, the reference, deviates from flaxrec: one flag each.

`config.reference_mode` turns all of them on, to migrate a model or to compare with the example.
Code asks for a single quirk (`config.quirks.relu_projection`), never for the mode.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Quirks:
    """One flag per quirk; all are False by default."""

    # Item rows are the raw integer ids (vocabulary 0..max id), not ranks by count; the tables have
    # no row for 'unknown'.
    identity_item_vocabulary: bool = False
    # A vocabulary's padding entry is a possible value ('0', or 'UNK' for strings).
    padding_is_a_value: bool = False
    # Vocabularies of item features count items, also those without events, instead of events; ties
    # keep the order of the item table, not of the value.
    vocabularies_count_items: bool = False
    # A feature's vocab_size is the number of its table's rows, not of kept values.
    vocab_size_is_rows: bool = False
    # Multi-valued features that exceed their length keep the oldest values, not the most recent.
    flatten_keeps_oldest: bool = False
    # Every row of the label table is a candidate, the padding row included.
    every_row_is_candidate: bool = False
    # A bag of words without embedded features sums over positions instead of averaging.
    float_bow_sums: bool = False
    # The CNN's maximum and the LSTM's state treat padding as an activity.
    encoders_see_padding: bool = False
    # The projection ends in a ReLU: encodings are never negative and can die.
    relu_projection: bool = False
    # The rows of padding and 'unknown' start at random values, not at zero.
    random_special_rows: bool = False
    # In-batch softmax counts another example's equal label as a negative.
    batch_duplicates_are_negatives: bool = False
    # optimizer.clip="per_parameter" takes the norm of a table's gradient over all looked-up rows,
    # before it sums the gradients of repeated rows.
    clip_by_gathered_rows: bool = False
    # Evaluation also reports recall and mean rank among the batch's own labels, and the mean rank
    # of all labels of a batch in all its contexts (the example's global mean rank).
    batch_metrics: bool = False
