import Foundation

/// The lines of a vocabulary; a value's line number is the row of its vector.
struct Vocabulary {
  static let padding = "<pad>"
  let entries: [String]
  private let rows: [String: Int32]

  init(_ entries: [String]) {
    var rows: [String: Int32] = [:]
    for (row, entry) in entries.enumerated() where entry != Vocabulary.padding { rows[entry] = Int32(row) }
    self.entries = entries
    self.rows = rows
  }

  /// The row of an entry; nil if there is none such.
  func row(ofEntry entry: String?) -> Int? { entry.flatMap { rows[$0] }.map { Int($0) } }

  /// The row after the last is that of values that are not known.
  func row(of value: Any?) -> Int32 {
    guard let first = text(value) else { return Int32(entries.count) }
    return rows[first] ?? spellings(first).lazy.compactMap { rows[$0] }.first ?? Int32(entries.count)
  }

  /// The largest number in it, such as the longest time that the model knows.
  var largest: Int? { entries.compactMap { Int($0) }.max() }
}

/// A value as it stands in a vocabulary: 7 and 7.0 are "7", true is "true".
func text(_ value: Any?) -> String? {
  switch value {
  case let string as String: return string
  case let date as Date:
    let formatter = ISO8601DateFormatter()  // in UTC
    formatter.formatOptions = [.withInternetDateTime, .withFractionalSeconds]
    return formatter.string(from: date)
  case let number as NSNumber:
    if CFGetTypeID(number) == CFBooleanGetTypeID() { return number.boolValue ? "true" : "false" }
    if !CFNumberIsFloatType(number as CFNumber) { return number.stringValue }  // a Double would round beyond 2^53
    let double = number.doubleValue
    return double == double.rounded() && abs(double) < 0x1p63 ? String(Int64(double)) : String(double)
  default: return nil
  }
}

/// A value of an input of numbers; nil where there is none.
func number(_ value: Any?) -> Float? {
  let found = (value as? NSNumber)?.floatValue ?? (value as? String).flatMap { Float($0) }
  return found.flatMap { $0.isFinite ? $0 : nil }
}

/// The values of an input of several: none, one or several.
func list(_ value: Any?) -> [Any?] {
  guard let value = value, !(value is NSNull) else { return [] }
  return value as? [Any] ?? [value]
}

/// Other texts of a boolean, a date or a date-time in UTC, as programs write them.
private func spellings(_ text: String) -> [String] {
  for alike in [["true", "True", "TRUE", "1"], ["false", "False", "FALSE", "0"]] where alike.contains(text) {
    return alike
  }
  let form = #"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?(\.\d{1,6}0*)?(Z|[+-]00:?00)?)?$"#
  if text.range(of: form, options: .regularExpression) == nil { return [] }
  let local = text.replacingOccurrences(of: "(Z|[+-]00:?00)$", with: "", options: .regularExpression)
  let parts = local.components(separatedBy: ".")
  let day = String(parts[0].prefix(10))
  let clock = String(parts[0].dropFirst(11) + "00:00:00".dropFirst(max(0, parts[0].count - 11)))
  let micros = ((parts.count > 1 ? parts[1] : "") + "000000").prefix(6)
  let fractions = [0, 3, 6].filter { Int("0" + micros.dropFirst($0)) == 0 }
    .map { $0 == 0 ? "" : "." + micros.prefix($0) }
  let ends = fractions.flatMap { one in ["", "Z", "+00:00"].map { clock + one + $0 } }
  let forms = ["T", " "].flatMap { between in ends.map { day + between + $0 } }
  return ends[0] == "00:00:00" ? forms + [day] : forms
}
