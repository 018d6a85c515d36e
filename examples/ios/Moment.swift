import Foundation

/// How the times of the training data count: `time` of metadata.json.
///
/// A time is a number in the data's unit or a Date.
struct Clock {
  static let sources: Set = [
    "event.gap", "event.gap_after", "event.seconds_ago", "ask.since", "ask.hour", "ask.weekday",
  ]
  private static let most = 31  // steps beyond it are unknown: probably another unit
  private let perSecond: Double?
  private let resolution: Double
  private let dates: Bool
  private var calendar = Calendar(identifier: .gregorian)

  init(_ fields: [String: Any]) {
    perSecond = ["s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9][fields["unit"] as! String]
    resolution = fields["resolution"] as? Double ?? 0
    dates = fields["dates"] as? Bool ?? false
    calendar.timeZone = TimeZone(identifier: fields["zone"] as? String ?? "UTC")!
  }

  /// The present moment; nil where the data's numbers are no moments.
  func now() -> Any? { perSecond == nil ? nil : Date() }

  /// A time in the data's unit, cut to the data's resolution; nil where it is none.
  private func inUnit(_ time: Any?) -> Double? {
    var found = (time as? NSNumber)?.doubleValue
    if let date = time as? Date, let perSecond = perSecond {
      var seconds = date.timeIntervalSince1970
      if dates {  // a moment is its day in the clock's zone, at midnight in UTC
        let midnight = calendar.startOfDay(for: date)
        seconds = midnight.timeIntervalSince1970 + Double(calendar.timeZone.secondsFromGMT(for: midnight))
      }
      found = seconds * perSecond
    }
    return found.map { resolution == 0 ? $0 : ($0 / resolution).rounded(.down) * resolution }
  }

  /// What a model reads of times: the activities with "gap", "gap_after" and "seconds_ago"; and of the moment "since",
  /// "hour" and "weekday". Missing: unknown.
  ///
  /// - Parameters:
  ///   - now: the moment of asking; nil where it is not known.
  ///   - most: the largest value of the vocabulary of each source, such as "event.gap_after".
  func asked(
    _ history: [[String: Any]], now: Any?, most: [String: Int]
  ) -> (history: [[String: Any]], moment: [String: Any]) {
    let times = history.map { inUnit($0["time"]) }
    let moment = inUnit(now)
    var latest: Int?
    var timed = history
    for (place, time) in times.enumerated() {
      let first = time == nil ? nil : -1
      let gap = place > 0 ? steps(times[place - 1], time) : first
      latest = steps(time, place + 1 < times.count ? times[place + 1] : moment)
      timed[place]["gap"] = cut(history[place]["gap"] as? Int ?? gap, most["event.gap"])
      timed[place]["gap_after"] = cut(latest, most["event.gap_after"])
      if let time = time, let moment = moment {
        timed[place]["seconds_ago"] = min(max(seconds(moment) - seconds(time), 0), Int(Int32.max))
      } else {
        timed[place]["seconds_ago"] = nil
      }
    }
    var asked = ofCalendar(moment)
    asked["since"] = cut(latest, most["ask.since"])
    return (timed, asked)
  }

  /// floor(log2(1 + time between)).
  private func steps(_ earlier: Double?, _ later: Double?) -> Int? {
    guard let earlier = earlier, let later = later else { return nil }
    return Int((1 + max(0, later - earlier)).exponent)
  }

  /// Steps as the vocabulary has them.
  private func cut(_ steps: Int?, _ most: Int?) -> Int? {
    guard let steps = steps, steps <= max(Clock.most, most ?? 0) else { return nil }
    return min(steps, most ?? steps)
  }

  private func seconds(_ time: Double) -> Int { Int((time / (perSecond ?? 1)).rounded(.down)) }

  private func ofCalendar(_ moment: Double?) -> [String: Any] {
    guard let moment = moment, perSecond != nil, !dates, (-62e9...253e9).contains(Double(seconds(moment))) else {
      return [:]
    }
    let date = Date(timeIntervalSince1970: Double(seconds(moment)))
    let weekday = (calendar.component(.weekday, from: date) + 5) % 7  // Monday is 0
    return ["hour": calendar.component(.hour, from: date), "weekday": weekday]
  }
}
