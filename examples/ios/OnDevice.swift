import Foundation
import LiteRT

/// The Recommender of a folder, with LiteRT's CompiledModel on the CPU; its buffers are made once.
func onDevice(folder: URL) throws -> Recommender {
  let environment = try Environment()
  let options = try Options()
  try options.setHardwareAccelerators([.cpu])
  let path = folder.appendingPathComponent("model.tflite").path
  let compiled = try CompiledModel(filePath: path, environment: environment, options: options)
  let inputs = try compiled.createInputBuffers()
  let outputs = try compiled.createOutputBuffers()
  let inputNames = try inputs.indices.map { try compiled.inputName(inputIndex: $0) }
  let outputNames = try outputs.indices.map { try compiled.outputName(outputIndex: $0) }
  return try Recommender(folder: folder) { given in
    for (name, buffer) in zip(inputNames, inputs) {
      switch given[name]! {
      case .rows(let rows): try buffer.write(rows)
      case .numbers(let numbers): try buffer.write(numbers)
      }
    }
    try compiled.run(inputs: inputs, outputs: outputs)
    return (
      rows: try outputs[outputNames.firstIndex(of: "top_prediction_ids")!].read(),
      scores: try outputs[outputNames.firstIndex(of: "top_prediction_scores")!].read()
    )
  }
}
