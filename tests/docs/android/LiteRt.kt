// Stands for LiteRT 2's classes, with the signatures of its source that the guide uses, and hands
// tensors to the process that the property `bridge` names, a line of JSON each way.
package com.google.ai.edge.litert

import android.content.res.AssetManager
import org.json.JSONObject

enum class Accelerator { CPU }

class TensorBuffer {
    internal var values: Any = IntArray(0)

    fun writeInt(data: IntArray) { values = data.copyOf() }

    fun writeFloat(data: FloatArray) { values = data.copyOf() }

    fun readInt(): IntArray = values as IntArray

    fun readFloat(): FloatArray = values as FloatArray
}

class CompiledModel private constructor() {
    class Options constructor(vararg accelerators: Accelerator)

    fun createInputBuffer(inputName: String, signature: String? = null) = TensorBuffer()

    fun createOutputBuffer(outputName: String, signature: String? = null) = TensorBuffer()

    fun run(inputs: Map<String, TensorBuffer>, outputs: Map<String, TensorBuffer>, signature: String? = null) {
        val found = Bridge.run(inputs.mapValues { it.value.values })
        for ((name, buffer) in outputs) {
            val values = found.getValue(name)
            buffer.values = when {
                name.endsWith("ids") -> IntArray(values.size) { values[it].toInt() }
                else -> FloatArray(values.size) { values[it].toFloat() }
            }
        }
    }

    companion object {
        @JvmStatic
        fun create(assets: AssetManager, name: String, options: Options): CompiledModel {
            assets.open(name).close()
            return CompiledModel()
        }
    }
}

object Bridge {
    private val process = ProcessBuilder(System.getProperty("bridge").split("\n"))
        .redirectError(ProcessBuilder.Redirect.INHERIT).start()
    private val writer = process.outputStream.bufferedWriter()
    private val reader = process.inputStream.bufferedReader()

    fun run(inputs: Map<String, Any>): Map<String, List<Double>> {
        val given = inputs.entries.joinToString(",", "{", "}") { (name, values) ->
            val numbers = if (values is IntArray) values.toList() else (values as FloatArray).toList()
            "\"$name\":$numbers"
        }
        writer.write(given + "\n")
        writer.flush()
        val found = JSONObject(reader.readLine())
        return found.keys().asSequence().map { it as String }.associateWith { name ->
            val values = found.getJSONArray(name)
            (0 until values.length()).map { values.getDouble(it) }
        }
    }
}
