// For each request of the vectors what the model was given, and the list; then for values that JSON has not. The model
// ranks rows in their order, hidden ones last. Arguments: a folder of export folders, the vectors' file.
import Foundation

let folder = URL(fileURLWithPath: CommandLine.arguments[1])
let file = try Data(contentsOf: URL(fileURLWithPath: CommandLine.arguments[2]))
let vectors = try JSONSerialization.jsonObject(with: file) as! [String: Any]
var given: [String: Values] = [:]
var recommenders: [String: Recommender] = [:]

func metadata(_ name: String) -> [String: Any] {
  ((vectors["folders"] as! [String: Any])[name] as! [String: Any])["metadata"] as! [String: Any]
}

/// A time of the vectors; ISO text as an app turns it into a Date.
func time(_ value: Any?, _ name: String) -> Any? {
  guard let text = value as? String else { return value is NSNull ? nil : value }
  let clock = metadata(name)["time"] as! [String: Any]
  let formatter = DateFormatter()
  formatter.locale = Locale(identifier: "en_US_POSIX")
  formatter.timeZone = TimeZone(identifier: text.count == 10 ? clock["zone"] as! String : "UTC")
  let forms = ["yyyy-MM-dd", "yyyy-MM-dd'T'HH:mm", "yyyy-MM-dd'T'HH:mm:ss", "yyyy-MM-dd'T'HH:mm:ssXXX"]
  for form in forms {
    formatter.dateFormat = form
    if let date = formatter.date(from: text) { return date }
  }
  fatalError(text)
}

func recommender(_ name: String) throws -> Recommender {
  if let found = recommenders[name] { return found }
  let topK = metadata(name)["top_k"] as! Int
  recommenders[name] = try Recommender(folder: folder.appendingPathComponent(name)) { inputs in
    given = inputs
    var mask = [Float](repeating: 0, count: topK + 1)
    if case .numbers(let numbers)? = inputs["candidate_mask"] { mask = numbers }
    let rows = (1..<mask.count).filter { mask[$0] >= 0 } + (1..<mask.count).filter { mask[$0] < 0 }
    let first = rows.prefix(topK).map { Int32($0) }
    return (rows: first, scores: [Float](repeating: 0, count: first.count))
  }
  return recommenders[name]!
}

func tell(_ found: [Recommendation]) throws {
  var inputs: [String: Any] = [:]
  for (name, values) in given {
    switch values {
    case .rows(let rows): inputs[name] = rows.map { Int($0) }
    case .numbers(let numbers): inputs[name] = numbers.map { Double($0) }
    }
  }
  let list = found.map { [text($0.item)!, $0.title] }
  let line = try JSONSerialization.data(withJSONObject: ["inputs": inputs, "list": list] as [String: Any])
  print(String(decoding: line, as: UTF8.self))
}

for request in vectors["requests"] as! [[String: Any]] {
  let name = request["folder"] as! String
  let history = (request["history"] as! [[String: Any]]).map { activity -> [String: Any] in
    var timed = activity.filter { !($0.value is NSNull) }
    timed["time"] = time(activity["time"], name)
    return timed
  }
  try tell(
    recommender(name).recommend(
      after: history, topK: request["top_k"] as? Int ?? 10, user: request["user"] as? [String: Any] ?? [:],
      now: time(request["now"], name), only: request["only"] as? [Any], without: request["without"] as? [Any] ?? []))
}
let item: [String: Any] = ["item": 1_234_567_890_123_456_768]
try tell(recommender("values").recommend(after: [item]))
let moment = Date(timeIntervalSince1970: 1_717_180_200)
let values: [String: Any] = ["since": moment, "day": Date(timeIntervalSince1970: 1_717_113_600)]
try tell(recommender("values").recommend(after: [item.merging(values) { $1 }]))
