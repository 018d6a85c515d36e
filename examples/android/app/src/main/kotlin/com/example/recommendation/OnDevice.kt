package com.example.recommendation

import android.content.Context
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import com.google.ai.edge.litert.TensorBuffer

private const val FOLDER = "recommendation"

/** The Recommender of the assets' folder, with LiteRT 2's CompiledModel on the CPU; its buffers are made once. */
fun onDevice(context: Context): Recommender {
    val model = CompiledModel.create(context.assets, "$FOLDER/model.tflite", CompiledModel.Options(Accelerator.CPU))
    val outputs = listOf(IDS, SCORES).associateWith { model.createOutputBuffer(it) }
    val inputs = HashMap<String, TensorBuffer>()
    return Recommender({ context.assets.open("$FOLDER/$it") }) { given, found ->
        for ((name, values) in given) {
            val buffer = inputs.getOrPut(name) { model.createInputBuffer(name) }
            if (values is IntArray) buffer.writeInt(values) else buffer.writeFloat(values as FloatArray)
        }
        model.run(inputs, outputs)
        outputs.getValue(IDS).readInt().copyInto(found.getValue(IDS) as IntArray)
        outputs.getValue(SCORES).readFloat().copyInto(found.getValue(SCORES) as FloatArray)
    }
}
