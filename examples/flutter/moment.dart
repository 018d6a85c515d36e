// Time as an input: from activity to activity, and to the moment of asking.

import 'dart:math';

const _most = 31; // steps beyond it are unknown: probably another unit

/// How the times of the training data count: `time` of metadata.json.
///
/// A time is a number in the data's unit or a DateTime.
class Clock {
  /// [offsetIn] is what the zone of the data adds to UTC at a moment, such as the package timezone knows; needed where
  /// the data hold dates, or the model reads hours or weekdays, and the zone is not UTC.
  Clock(Map<String, dynamic> fields, this.offsetIn)
      : _perSecond = const {'s': 1, 'ms': 1000, 'us': 1000000, 'ns': 1000000000}[fields['unit']],
        _zone = fields['zone'] as String? ?? 'UTC',
        _resolution = fields['resolution'] as int? ?? 0,
        _dates = fields['dates'] as bool? ?? false;

  static const sources = {
    'event.gap', 'event.gap_after', 'event.seconds_ago', 'ask.since', 'ask.hour', 'ask.weekday', //
  };

  final Duration Function(DateTime moment)? offsetIn;
  final int? _perSecond;
  final String _zone;
  final int _resolution;
  final bool _dates;

  /// The present moment; null where the data's numbers are no moments.
  Object? now() => _perSecond == null ? null : DateTime.now();

  num? _inUnit(Object? time) {
    var found = time;
    if (time is DateTime) {
      final perSecond = _perSecond;
      if (perSecond == null) throw ArgumentError('$time, where the data\'s times are numbers that are no moments');
      var micros = time.toUtc().microsecondsSinceEpoch;
      if (_dates) { // a moment is its day in the clock's zone, at midnight in UTC
        final local = _local(time);
        micros = DateTime.utc(local.year, local.month, local.day).microsecondsSinceEpoch;
      }
      found = perSecond >= 1000000 ? micros * (perSecond ~/ 1000000) : micros * perSecond / 1000000;
    }
    if (found is! num) return null;
    return _resolution == 0 ? found : found - found % _resolution; // % is never negative
  }

  DateTime _local(DateTime moment) {
    final offset = _zone == 'UTC' ? Duration.zero : offsetIn?.call(moment);
    if (offset == null) throw ArgumentError('the model needs the time zone $_zone: give offsetIn');
    return moment.toUtc().add(offset);
  }

  /// What a model reads of times: the activities with "gap", "gap_after" and "seconds_ago"; and of the moment "since",
  /// "hour" and "weekday". Null: unknown.
  ///
  /// [now] is the moment of asking, null where it is not known; [most] the largest value of the vocabulary of each
  /// source, such as "event.gap_after".
  (List<Map<String, Object?>>, Map<String, Object?>) asked(
    List<Map<String, Object?>> history,
    Object? now,
    Map<String, int?> most, {
    bool readsCalendar = false,
  }) {
    final times = [for (final activity in history) _inUnit(activity['time'])];
    final moment = _inUnit(now);
    int? latest;
    final timed = <Map<String, Object?>>[];
    for (final (place, time) in times.indexed) {
      final gap = place > 0 ? _steps(times[place - 1], time) : (time == null ? null : -1);
      latest = _steps(time, place + 1 < times.length ? times[place + 1] : moment);
      timed.add({
        ...history[place],
        'gap': _cut(history[place]['gap'] ?? gap, most['event.gap']),
        'gap_after': _cut(latest, most['event.gap_after']),
        'seconds_ago':
            time == null || moment == null ? null : min(max(_seconds(moment) - _seconds(time), 0), 2147483647),
      });
    }
    return (
      timed,
      {'since': _cut(latest, most['ask.since']), if (readsCalendar) ..._ofCalendar(moment)},
    );
  }

  /// floor(log2(1 + time between)), exact.
  static int? _steps(num? earlier, num? later) {
    if (earlier == null || later == null) return null;
    var steps = 0;
    for (var rest = 1.0 + max(0, later - earlier); rest >= 2; rest /= 2) {
      steps++;
    }
    return steps;
  }

  /// Steps as the vocabulary has them; a given value that is no number as it is.
  static Object? _cut(Object? value, int? most) {
    if (value is! num) return value;
    if (value > max(_most, most ?? 0)) return null;
    return most == null ? value : min(value, most);
  }

  int _seconds(num time) => (time / (_perSecond ?? 1)).floor();

  Map<String, Object?> _ofCalendar(num? moment) {
    if (moment == null || _perSecond == null || _dates) return const {};
    final seconds = _seconds(moment);
    if (seconds <= -62000000000 || seconds >= 253000000000) return const {};
    final local = _local(DateTime.fromMillisecondsSinceEpoch(1000 * seconds, isUtc: true));
    return {'hour': local.hour, 'weekday': local.weekday - 1}; // Monday is 0
  }
}
