import Foundation

private let mask = "candidate_mask"
private let leftOut: Float = -1e9

/// An item of the catalogue; of its columns those that the model reads.
struct Item {
  let id: Any
  let title: String
  let columns: [String: Any]
  let isCandidate: Bool
}

struct Recommendation {
  let item: Any
  let title: String
  let score: Float
}

/// Values of an input.
enum Values {
  case rows([Int32])
  case numbers([Float])
}

/// An export folder of flaxrec. For one thread at a time.
final class Recommender {
  typealias Run = ([String: Values]) throws -> (rows: [Int32], scores: [Float])

  private let metadata: [String: Any]
  private let inputs: [[String: Any]]
  private let run: Run
  private let clock: Clock?
  private let vocabularies: [String: Vocabulary]
  private let labels: Vocabulary
  private var items: [String: Item] = [:]
  private var candidates: [Bool] = []  // whether the item of each row of the label vocabulary is one
  private var most: [String: Int] = [:]

  /// - Parameter run: the model: takes the inputs by name.
  init(folder: URL, run: @escaping Run) throws {
    let data = try Data(contentsOf: folder.appendingPathComponent("metadata.json"))
    metadata = try JSONSerialization.jsonObject(with: data) as! [String: Any]
    inputs = metadata["inputs"] as! [[String: Any]]
    self.run = run
    let sources = inputs.map { $0["source"] as! String }
    let readsTime = !Clock.sources.isDisjoint(with: sources)
    clock = readsTime ? (metadata["time"] as? [String: Any]).map { Clock($0) } : nil
    let name = metadata["label_vocabulary"] as! String
    var read: [String: Vocabulary] = [:]
    for name in Set(inputs.compactMap { $0["vocabulary"] as? String } + [name]) {
      var entries: [String] = []
      try forEachLine(of: folder.appendingPathComponent(name)) { entries.append(String(decoding: $0, as: UTF8.self)) }
      read[name] = Vocabulary(entries)
    }
    vocabularies = read
    labels = read[name]!
    for spec in inputs {
      most[spec["source"] as! String] = (spec["vocabulary"] as? String).flatMap { read[$0]?.largest }
    }
    try readItems(folder)
    candidates = labels.entries.map { items[$0]?.isCandidate == true }
  }

  /// The best items to follow a history, at this moment.
  func recommend(
    after history: [[String: Any]], topK: Int = 10, user: [String: Any] = [:], only: [Any]? = nil, without: [Any] = []
  ) throws -> [Recommendation] {
    try recommend(after: history, topK: topK, user: user, now: clock?.now(), only: only, without: without)
  }

  /// The best items to follow a history.
  ///
  /// - Parameters:
  ///   - history: activities, oldest first: "item" is the item's id, "time" when it was; "rating" and others where the
  ///     model reads them.
  ///   - user: the user's features, where the model reads any.
  ///   - now: the moment of asking, a Date or a number in the data's unit; nil: unknown.
  ///   - only: ids of the items that may be shown; nil: all.
  ///   - without: ids of the items that must not be shown.
  func recommend(
    after history: [[String: Any]], topK: Int = 10, user: [String: Any] = [:], now: Any?, only: [Any]? = nil,
    without: [Any] = []
  ) throws -> [Recommendation] {
    let (timed, moment) = clock?.asked(history, now: now, most: most) ?? (history, [:])
    var given: [String: Values] = [:]
    for spec in inputs { given[spec["name"] as! String] = encode(spec, timed, user, moment) }
    var allowed = self.allowed(history, only, without)
    if let spec = inputs.first(where: { $0["source"] as? String == mask }) {
      if metadata["excludes_context"] as? Bool == true { leaveOutContext(given, &allowed) }
      let length = self.length(spec)
      let numbers: [Float] = (0..<length).map { $0 < allowed.count && allowed[$0] ? 0 : leftOut }
      given[spec["name"] as! String] = .numbers(numbers)
    }
    let answer = try run(given)
    var found: [Recommendation] = []
    for (row, score) in zip(answer.rows, answer.scores) where allowed.indices.contains(Int(row)) && allowed[Int(row)] {
      let item = items[labels.entries[Int(row)]]!
      found.append(Recommendation(item: item.id, title: item.title, score: score))
    }
    return Array(found.prefix(topK))
  }

  /// Whether the item of each row of the label vocabulary may be shown.
  private func allowed(_ history: [[String: Any]], _ only: [Any]?, _ without: [Any]) -> [Bool] {
    func rows(of ids: [Any?]) -> [Int] { ids.compactMap { labels.row(ofEntry: text($0)) } }
    var allowed = only == nil ? candidates : [Bool](repeating: false, count: candidates.count)
    for row in rows(of: only ?? []) { allowed[row] = candidates[row] }
    let seen = metadata["recommends_seen"] as? Bool == true ? [] : history.map { $0["item"] }
    for row in rows(of: without + seen) { allowed[row] = false }
    return allowed
  }

  /// The graph itself leaves these out; where few others may be shown, they would end the list.
  private func leaveOutContext(_ given: [String: Values], _ allowed: inout [Bool]) {
    for spec in inputs where spec["vocabulary"] as? String == metadata["label_vocabulary"] as? String {
      guard case .rows(let rows)? = given[spec["name"] as! String] else { continue }
      for row in rows where allowed.indices.contains(Int(row)) { allowed[Int(row)] = false }
    }
  }

  /// One input of the graph: vocabulary rows or numbers, padded at the end.
  private func encode(
    _ spec: [String: Any], _ history: [[String: Any]], _ user: [String: Any], _ moment: [String: Any]
  ) -> Values {
    let length = self.length(spec)
    let source = spec["source"] as! String
    if source == mask { return .numbers([Float](repeating: 0, count: length)) }
    let parts = source.split(separator: ".", maxSplits: 1).map(String.init)
    let (table, column) = (parts[0], parts[1])
    let multiValued = spec["multi_valued"] as! Bool
    func value(of activity: [String: Any]) -> Any? {
      if table == "event" { return activity[column] }
      if column == "id" { return activity["item"] }
      return text(activity["item"]).flatMap { items[$0]?.columns[column] }
    }
    var values: [Any?]
    if table == "ask" {
      values = [moment[column]]
    } else if table == "user" {
      values = multiValued ? list(user[column]) : [user[column]]
    } else if multiValued {
      values = history.suffix(metadata["context_length"] as! Int).flatMap { list(value(of: $0)) }
    } else {
      values = history.suffix(length).map { value(of: $0) }
    }
    let keepsFirst = table == "user" || metadata["flatten_keeps_oldest"] as! Bool
    values = keepsFirst ? Array(values.prefix(length)) : Array(values.suffix(length))
    if spec["dtype"] as? String == "float32" {
      let missing = (spec["default"] as? NSNumber)?.floatValue ?? 0
      var numbers = [Float](repeating: 0, count: length)
      for (place, value) in values.enumerated() { numbers[place] = number(value) ?? missing }
      return .numbers(numbers)
    }
    let vocabulary = (spec["vocabulary"] as? String).flatMap { vocabularies[$0] }
    var rows = [Int32](repeating: 0, count: length)
    for (place, value) in values.enumerated() {
      rows[place] = vocabulary?.row(of: value) ?? (value as? NSNumber)?.int32Value ?? -1  // seconds
    }
    return .rows(rows)
  }

  /// Reads items line by line: only what is needed stays in memory.
  private func readItems(_ folder: URL) throws {
    let told = metadata["items"] as? [String: Any]
    if told?["fields"] as? String == "none" {  // no file: each line of the label vocabulary is an id, but padding
      let padding = labels.entries.first == Vocabulary.padding ? 1 : 0
      let end = (metadata["candidates"] as? Int ?? labels.entries.count) + padding
      for (row, entry) in labels.entries.enumerated().dropFirst() {
        let number = told?["ids"] as? String == "integer" ? Int64(entry) : nil
        items[entry] = Item(id: number.map { $0 as Any } ?? entry, title: "", columns: [:], isCandidate: row < end)
      }
      return
    }
    let sources = inputs.map { $0["source"] as! String }
    let read = sources.filter { $0.hasPrefix("item.") }.map { String($0.dropFirst("item.".count)) }
    try forEachLine(of: folder.appendingPathComponent("items.jsonl")) { line in
      let row = try JSONSerialization.jsonObject(with: line) as! [String: Any]
      items[text(row["id"])!] = Item(
        id: row["id"]!, title: row["title"] as? String ?? "", columns: row.filter { read.contains($0.key) },
        isCandidate: row["candidate"] as? Bool ?? true)
    }
  }

  private func length(_ spec: [String: Any]) -> Int { (spec["shape"] as! [Int])[0] }
}

/// The lines of a file that stays on disk. Their ends are "\n" alone: an entry may hold "\r".
private func forEachLine(of file: URL, _ body: (Data) throws -> Void) throws {
  let content = try Data(contentsOf: file, options: .alwaysMapped)
  var start = content.startIndex
  while start < content.endIndex {
    let end = content[start...].firstIndex(of: 0x0A) ?? content.endIndex
    try autoreleasepool { try body(content.subdata(in: start..<end)) }
    start = end + 1
  }
}
