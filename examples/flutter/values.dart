// Values as they stand in the export's files.

const padding = '<pad>';
const _truths = [
  ['true', 'True', 'TRUE', '1'],
  ['false', 'False', 'FALSE', '0'],
];
final _moment = RegExp(r'^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(:\d\d)?(?:\.(\d{1,6})0*)?(?:Z|[+-]00:?00)?)?$');

/// The lines of a vocabulary; a value's line number is the row of its vector.
class Vocabulary {
  Vocabulary(this.entries)
      : _rows = {
          for (var row = 0; row < entries.length; row++)
            if (entries[row] != padding) entries[row]: row,
        };

  final List<String> entries;
  final Map<String, int> _rows;

  /// The row of an entry; null if there is none such.
  int? rowOfEntry(String? entry) => _rows[entry];

  /// The row after the last is that of values that are not known.
  int rowOf(Object? value) {
    final given = text(value);
    if (given == null) return entries.length;
    for (final one in [given, ..._spellings(given)]) {
      final row = _rows[one];
      if (row != null) return row;
    }
    return entries.length;
  }

  /// The largest number in it, such as the longest time that the model knows.
  late final int? largest = entries
      .map(int.tryParse)
      .fold<int?>(null, (most, one) => one == null || (most != null && most > one) ? most : one);
}

/// A value as it stands in a vocabulary: 7 and 7.0 are "7", true is "true".
String? text(Object? value) {
  if (value is DateTime) return value.toUtc().toIso8601String();
  if (value is double && value == value.truncateToDouble() && value.abs() < 9e18) return value.toInt().toString();
  return value?.toString();
}

/// A value of an input of numbers; null where there is none.
double? number(Object? value) {
  final found = switch (value) {
    num() => value.toDouble(),
    bool() => value ? 1.0 : 0.0,
    String() => double.tryParse(value),
    _ => null,
  };
  return found == null || !found.isFinite ? null : found;
}

/// The values of an input of several: none, one or several.
List<Object?> list(Object? value) => switch (value) {
      null => const [],
      List() => value,
      _ => [value],
    };

/// Other texts of a boolean, a date or a date-time in UTC, as programs write them.
List<String> _spellings(String text) {
  for (final alike in _truths) {
    if (alike.contains(text)) return alike;
  }
  final found = _moment.firstMatch(text);
  if (found == null) return const [];
  final day = found.group(1)!;
  final clock = (found.group(2) ?? '00:00') + (found.group(3) ?? ':00');
  final micros = (found.group(4) ?? '').padRight(6, '0');
  final fractions = [
    for (final n in [0, 3, 6])
      if (int.parse('0${micros.substring(n)}') == 0) n == 0 ? '' : '.${micros.substring(0, n)}',
  ];
  final ends = [
    for (final one in fractions)
      for (final zone in ['', 'Z', '+00:00']) '$clock$one$zone',
  ];
  return [
    for (final between in ['T', ' '])
      for (final end in ends) '$day$between$end',
    if (ends.first == '00:00:00') day,
  ];
}
