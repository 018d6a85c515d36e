// Stands for LiteRT's class, with the signatures of its source that the guide uses.
package org.tensorflow.lite

import com.google.ai.edge.litert.Bridge
import java.nio.ByteBuffer

class Interpreter(model: ByteBuffer, options: Options) {
    class Options {
        fun setNumThreads(numThreads: Int): Options = this
    }

    init {
        require(model.isDirect)
    }

    fun runSignature(inputs: Map<String, Any>, outputs: Map<String, Any>) {
        for ((name, values) in Bridge.run(inputs)) {
            when (val into = outputs[name]) {
                is IntArray -> values.forEachIndexed { i, value -> into[i] = value.toInt() }
                is FloatArray -> values.forEachIndexed { i, value -> into[i] = value.toFloat() }
                else -> throw IllegalArgumentException("no place for the output $name")
            }
        }
    }
}
