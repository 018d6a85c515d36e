// Stands for LiteRT's Swift package, with the signatures of its source that the example uses.
import Foundation

public enum Accelerator { case cpu }

public final class Environment { public init() throws {} }

public final class Options {
  public init() throws {}
  public func setHardwareAccelerators(_ accelerators: Set<Accelerator>) throws {}
}

public final class TensorBuffer {
  private var bytes = Data()
  public func write<T>(_ data: [T]) throws { bytes = data.withUnsafeBufferPointer { Data(buffer: $0) } }
  public func read<T>() throws -> [T] { bytes.withUnsafeBytes { Array($0.bindMemory(to: T.self)) } }
}

public final class CompiledModel {
  public init(filePath: String, environment: Environment, options: Options? = nil) throws {}
  public func createInputBuffers(signatureIndex: Int = 0) throws -> [TensorBuffer] { [] }
  public func createOutputBuffers(signatureIndex: Int = 0) throws -> [TensorBuffer] { [] }
  public func inputName(inputIndex: Int, signatureIndex: Int = 0) throws -> String { "" }
  public func outputName(outputIndex: Int, signatureIndex: Int = 0) throws -> String { "" }
  public func run(inputs: [TensorBuffer], outputs: [TensorBuffer], options: Options? = nil, signatureIndex: Int = 0) throws {}
}
