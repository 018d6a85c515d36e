// An export folder of flaxrec, for any runtime that runs the model.

import 'dart:convert';
import 'dart:typed_data';

import 'moment.dart';
import 'values.dart';

const _mask = 'candidate_mask';
const _leftOut = -1e9;

/// An item of the catalogue; of its columns those that the model reads.
class Item {
  const Item(this.id, this.title, this.columns, {required this.isCandidate});

  final Object id;
  final String title;
  final Map<String, Object?> columns;
  final bool isCandidate;
}

class Recommendation {
  const Recommendation(this.item, this.title, this.score);

  final Object item;
  final String title;
  final double score;
}

/// Runs the model on inputs by name: Int32List or Float32List.
typedef Run = (Int32List rows, Float32List scores) Function(Map<String, TypedData> inputs);

class Recommender {
  Recommender._(this.metadata, this._run, Duration Function(DateTime)? offsetIn)
      : inputs = (metadata['inputs'] as List).cast<Map<String, dynamic>>() {
    final readsTime = inputs.any((spec) => Clock.sources.contains(spec['source']));
    final time = metadata['time'] as Map<String, dynamic>?;
    _clock = readsTime && time != null ? Clock(time, offsetIn) : null;
  }

  /// Reads a folder; [read] returns the bytes of one of its files, by its path in it. [offsetIn]: see [Clock].
  static Future<Recommender> load(
    Future<Uint8List> Function(String name) read,
    Run run, {
    Duration Function(DateTime)? offsetIn,
  }) async {
    final metadata = jsonDecode(utf8.decode(await read('metadata.json'))) as Map<String, dynamic>;
    final self = Recommender._(metadata, run, offsetIn);
    final names = {metadata['label_vocabulary'], for (final spec in self.inputs) spec['vocabulary']};
    for (final name in names.whereType<String>()) {
      self._vocabularies[name] = Vocabulary(_lines(await read(name)).toList());
    }
    for (final spec in self.inputs) {
      self._most[spec['source'] as String] = self._vocabularies[spec['vocabulary']]?.largest;
    }
    await self._readItems(read);
    return self;
  }

  final Map<String, dynamic> metadata;
  final List<Map<String, dynamic>> inputs;
  final Run _run;
  late final Clock? _clock;
  final _vocabularies = <String, Vocabulary>{};
  final _items = <String, Item>{};
  final _most = <String, int?>{};

  /// Whether the item of each row of the label vocabulary is one.
  late final _candidates = [for (final entry in _labels.entries) _items[entry]?.isCandidate ?? false];

  Vocabulary get _labels => _vocabularies[metadata['label_vocabulary']]!;

  /// The best items to follow a history.
  ///
  /// [history]: activities, oldest first: "item" is the item's id, "time" when it was; "rating" and others where the
  /// model reads them. [user]: the user's features. [now]: the moment of asking, the clock's unless it [isUnknown].
  /// [only], [without]: ids of the items that may, or must not, be shown.
  List<Recommendation> recommend(
    List<Map<String, Object?>> history, {
    int topK = 10,
    Map<String, Object?> user = const {},
    Object? now,
    bool isUnknown = false,
    Iterable<Object>? only,
    Iterable<Object> without = const [],
  }) {
    final moment = isUnknown ? null : now ?? _clock?.now();
    final readsCalendar = inputs.any((spec) => const {'ask.hour', 'ask.weekday'}.contains(spec['source']));
    final (timed, asked) = _clock?.asked(history, moment, _most, readsCalendar: readsCalendar) ??
        (history, const <String, Object?>{});
    final given = {for (final spec in inputs) spec['name'] as String: _encode(spec, timed, user, asked)};
    final allowed = _allowed(history, only, without);
    for (final spec in inputs.where((spec) => spec['source'] == _mask)) {
      if (metadata['excludes_context'] == true) _leaveOutContext(given, allowed);
      final mask = Float32List(_length(spec))..fillRange(0, _length(spec), _leftOut);
      for (var row = 0; row < mask.length && row < allowed.length; row++) {
        if (allowed[row]) mask[row] = 0;
      }
      given[spec['name'] as String] = mask;
    }
    final (rows, scores) = _run(given);
    return [
      for (final (place, row) in rows.indexed)
        if (row >= 0 && row < allowed.length && allowed[row])
          if (_items[_labels.entries[row]] case final item?) Recommendation(item.id, item.title, scores[place]),
    ].take(topK).toList();
  }

  /// Whether the item of each row of the label vocabulary may be shown.
  List<bool> _allowed(List<Map<String, Object?>> history, Iterable<Object>? only, Iterable<Object> without) {
    Iterable<int> rowsOf(Iterable<Object?> ids) => ids.map((id) => _labels.rowOfEntry(text(id))).whereType<int>();
    final allowed = only == null ? List.of(_candidates) : List.filled(_candidates.length, false);
    for (final row in rowsOf(only ?? const [])) {
      allowed[row] = _candidates[row];
    }
    final seen = metadata['recommends_seen'] == true ? const <Object?>[] : history.map((activity) => activity['item']);
    for (final row in rowsOf([...without, ...seen])) {
      allowed[row] = false;
    }
    return allowed;
  }

  /// The graph itself leaves these out; where few others may be shown, they would end the list.
  void _leaveOutContext(Map<String, TypedData> given, List<bool> allowed) {
    for (final spec in inputs.where((spec) => spec['vocabulary'] == metadata['label_vocabulary'])) {
      for (final row in given[spec['name']] as Int32List) {
        if (row >= 0 && row < allowed.length) allowed[row] = false;
      }
    }
  }

  /// One input of the graph: vocabulary rows or numbers, padded at the end.
  TypedData _encode(
    Map<String, dynamic> spec,
    List<Map<String, Object?>> history,
    Map<String, Object?> user,
    Map<String, Object?> asked,
  ) {
    final length = _length(spec);
    final source = spec['source'] as String;
    if (source == _mask) return Float32List(length);
    final point = source.indexOf('.');
    final (table, column) = (source.substring(0, point), source.substring(point + 1));
    final multiValued = spec['multi_valued'] as bool;
    Object? valueOf(Map<String, Object?> activity) {
      if (table == 'event') return activity[column];
      return column == 'id' ? activity['item'] : _items[text(activity['item'])]?.columns[column];
    }

    Iterable<T> latest<T>(List<T> all, int count) => all.skip(all.length > count ? all.length - count : 0);
    final values = switch (table) {
      'ask' => [asked[column]],
      'user' => multiValued ? list(user[column]) : [user[column]],
      _ when multiValued => [
          for (final activity in latest(history, metadata['context_length'] as int)) ...list(valueOf(activity)),
        ],
      _ => latest(history, length).map(valueOf).toList(),
    };
    final keepsFirst = table == 'user' || metadata['flatten_keeps_oldest'] == true;
    final kept = (keepsFirst ? values.take(length) : latest(values, length)).toList();
    if (spec['dtype'] == 'float32') {
      final missing = (spec['default'] as num?)?.toDouble() ?? 0;
      final numbers = Float32List(length);
      for (final (place, value) in kept.indexed) {
        numbers[place] = number(value) ?? missing;
      }
      return numbers;
    }
    final vocabulary = _vocabularies[spec['vocabulary']];
    final rows = Int32List(length);
    for (final (place, value) in kept.indexed) {
      rows[place] = vocabulary?.rowOf(value) ?? (value is num ? value.toInt() : -1); // seconds
    }
    return rows;
  }

  /// Reads items line by line: only what is needed stays in memory.
  Future<void> _readItems(Future<Uint8List> Function(String name) read) async {
    final told = metadata['items'] as Map<String, dynamic>?;
    if (told?['fields'] == 'none') { // no file: each line of the label vocabulary is an id, but padding
      final isPadded = _labels.entries.first == padding;
      final end = (metadata['candidates'] as int? ?? _labels.entries.length) + (isPadded ? 1 : 0);
      for (final (row, entry) in _labels.entries.indexed.skip(1)) {
        final id = told?['ids'] == 'integer' ? int.tryParse(entry) ?? entry : entry;
        _items[entry] = Item(id, '', const {}, isCandidate: row < end);
      }
      return;
    }
    final sources = inputs.map((spec) => spec['source'] as String).where((source) => source.startsWith('item.'));
    final columns = sources.map((source) => source.substring('item.'.length)).toSet();
    for (final line in _lines(await read('items.jsonl'))) {
      final row = jsonDecode(line) as Map<String, dynamic>;
      _items[text(row['id'])!] = Item(
        row['id'] as Object,
        row['title'] as String? ?? '',
        {for (final column in columns) column: row[column]},
        isCandidate: row['candidate'] as bool? ?? true,
      );
    }
  }

  int _length(Map<String, dynamic> spec) => (spec['shape'] as List).first as int;

  /// Ends of lines are "\n" alone: an entry may hold "\r", at which LineSplitter would end it.
  static Iterable<String> _lines(Uint8List content) sync* {
    for (var start = 0; start < content.length;) {
      var end = content.indexOf(0x0A, start);
      if (end < 0) end = content.length;
      yield utf8.decode(Uint8List.sublistView(content, start, end));
      start = end + 1;
    }
  }
}
