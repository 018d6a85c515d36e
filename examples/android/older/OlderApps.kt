package com.example.recommendation

import android.content.Context
import java.io.FileInputStream
import java.nio.channels.FileChannel
import org.tensorflow.lite.Interpreter

private const val FOLDER = "recommendation"

/** The same with the Interpreter of LiteRT 1.4 and TensorFlow Lite, for apps that have it already. */
fun withInterpreter(context: Context): Recommender {
    val model = context.assets.openFd("$FOLDER/model.tflite").use {
        FileInputStream(it.fileDescriptor).channel.map(FileChannel.MapMode.READ_ONLY, it.startOffset, it.declaredLength)
    }
    val interpreter = Interpreter(model, Interpreter.Options().setNumThreads(1))
    return Recommender({ context.assets.open("$FOLDER/$it") }) { inputs, outputs ->
        interpreter.runSignature(inputs, outputs)
    }
}
