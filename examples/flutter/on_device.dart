// The Recommender of the assets' folder, with the package tflite_flutter.

import 'dart:typed_data';

import 'package:flutter/services.dart';
import 'package:tflite_flutter/tflite_flutter.dart';

import 'recommender.dart';

const _folder = 'assets/recommendation';

/// [offsetIn]: see Clock.
Future<Recommender> onDevice({Duration Function(DateTime)? offsetIn}) async {
  Future<Uint8List> read(String name) async => Uint8List.sublistView(await rootBundle.load('$_folder/$name'));
  final options = InterpreterOptions()..threads = 1;
  final interpreter = Interpreter.fromBuffer(await read('model.tflite'), options: options);
  final rowsAt = interpreter.getOutputIndex('top_prediction_ids');
  final scoresAt = interpreter.getOutputIndex('top_prediction_scores');

  // The file's tensors have the names of metadata.json. runForMultipleInputs would resize them in every call.
  (Int32List, Float32List) run(Map<String, TypedData> inputs) {
    for (final tensor in interpreter.getInputTensors()) {
      tensor.data = Uint8List.sublistView(inputs[tensor.name]!);
    }
    interpreter.invoke();
    final rows = Uint8List.fromList(interpreter.getOutputTensor(rowsAt).data);
    final scores = Uint8List.fromList(interpreter.getOutputTensor(scoresAt).data);
    return (rows.buffer.asInt32List(), scores.buffer.asFloat32List());
  }

  return Recommender.load(read, run, offsetIn: offsetIn);
}
