"""What the TensorFlow example does differently from what is right, in one place.

`config.reference_mode` switches all of it on, for moving a model over or comparing with the
example. The core asks for the single quirk it is about (`config.quirks.relu_projection`), never for
the mode.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Quirks:
    """One flag a quirk; all False is flaxrec's default."""

    # Item rows are the raw integer ids (vocabulary 0..max id), not ranks by count; the tables have
    # no further row for 'unknown'.
    identity_item_vocabulary: bool = False
    # A vocabulary's padding entry is a value that the data may have ('0', or 'UNK' for strings).
    padding_is_a_value: bool = False
    # Vocabularies of item features count items, those without events included, not events; equal
    # counts stand in the order of the item table, not of the value.
    vocabularies_count_items: bool = False
    # A feature's vocab_size is the number of its table's rows, not of values that are kept.
    vocab_size_is_rows: bool = False
    # Multi-valued features that exceed their length keep the oldest values, not the most recent.
    flatten_keeps_oldest: bool = False
    # Every row of the label table is a candidate, the padding row included.
    every_row_is_candidate: bool = False
    # A bag of words without embedded features is a sum over positions, not a mean.
    float_bow_sums: bool = False
    # The CNN's maximum and the LSTM's state run over padding as if it were an activity.
    encoders_see_padding: bool = False
    # The projection ends in a ReLU: encodings are not negative and can die.
    relu_projection: bool = False
    # The rows of padding and 'unknown' start at random values, not at zero.
    random_special_rows: bool = False
    # In-batch softmax takes another example's equal label for a negative.
    batch_duplicates_are_negatives: bool = False
    # optimizer.clip="per_parameter" measures a table's gradient over all rows looked up, before the
    # gradients of rows looked up more than once are summed.
    clip_by_gathered_rows: bool = False
    # Evaluation also reports recall and mean rank among the batch's own labels, and the mean rank
    # of every label of a batch in every context of it, which the example calls global mean rank.
    batch_metrics: bool = False
