// Runs the example's code. Arguments: "lists", the assets' folder, the cases' file; or "vectors", a folder of export
// folders, the vectors' file.
package com.example.recommendation

import android.app.Activity
import android.content.Context
import android.content.res.AssetManager
import android.widget.LinearLayout
import android.widget.ListView
import android.widget.TextView
import java.io.File
import java.util.Date
import org.json.JSONArray
import org.json.JSONObject

private fun plain(value: Any?): Any? = when (value) {
    JSONObject.NULL -> null
    is JSONArray -> (0 until value.length()).map { plain(value.get(it)) }
    is JSONObject -> map(value)
    else -> value
}

private fun map(value: JSONObject): Map<String, Any?> =
    value.keys().asSequence().map { it as String }.associateWith { plain(value.get(it)) }

private fun objects(array: JSONArray) = (0 until array.length()).map { array.getJSONObject(it) }

private fun activities(case: JSONObject) = objects(case.getJSONArray("history")).map { map(it) }

fun main(arguments: Array<String>) {
    val (what, folder, file) = arguments
    if (what == "vectors") vectors(File(folder), JSONObject(File(file).readText()))
    else lists(AssetManager(File(folder)), JSONArray(File(file).readText()))
    System.exit(0)
}

/** The lists of both runtimes, then those of the screen after three taps. */
private fun lists(assets: AssetManager, cases: JSONArray) {
    val context = Context(assets)
    for (recommender in listOf(onDevice(context), withInterpreter(context))) {
        for (case in objects(cases)) {
            val found = recommender.recommend(activities(case), user = map(case.getJSONObject("user")))
            println(JSONArray(found.map { JSONArray(listOf(it.item, it.title, it.score)) }))
        }
    }
    Activity.ASSETS = assets
    val screen = MainActivity().apply { onCreate(null) }
    val (picked, list) = (screen.content as LinearLayout).views
    for (tap in 0..3) {
        while ((list as ListView).tap == null) Thread.sleep(5)
        println(JSONObject(mapOf("picked" to (picked as TextView).text, "rows" to JSONArray(list.adapter!!.rows))))
        list.tap!!.also { list.tap = null }(null, null, tap, 0)
    }
}

/**
 * For each request what the model was given, and the list; then for values that JSON has not. The model ranks rows in
 * their order, hidden ones last.
 */
private fun vectors(folder: File, vectors: JSONObject) {
    var given: Map<String, Any> = emptyMap()
    val recommenders = HashMap<String, Recommender>()
    fun load(name: String) = recommenders.getOrPut(name) {
        Recommender({ File(folder, "$name/$it").inputStream() }) { inputs, outputs ->
            given = inputs
            val rows = outputs.getValue(IDS) as IntArray
            val mask = inputs["candidate_mask"] as FloatArray? ?: FloatArray(rows.size + 1)
            (1 until mask.size).sortedBy { mask[it] < 0 }.take(rows.size).forEachIndexed { i, row -> rows[i] = row }
        }
    }

    fun tell(found: List<Recommendation>) {
        val inputs = given.mapValues { (_, of) ->
            JSONArray(if (of is IntArray) of.asList() else (of as FloatArray).asList())
        }
        val list = JSONArray(found.map { JSONArray(listOf(text(it.item), it.title)) })
        println(JSONObject(mapOf("inputs" to JSONObject(inputs), "list" to list)))
    }
    for (request in objects(vectors.getJSONArray("requests"))) {
        val ids = { key: String -> (plain(request.opt(key)) as List<*>?)?.filterNotNull() }
        tell(load(request.getString("folder")).recommend(
            activities(request),
            request.optInt("top_k", 10),
            map(request.optJSONObject("user") ?: JSONObject()),
            plain(request.opt("now")),
            ids("only"),
            ids("without") ?: emptyList()
        ))
    }
    val item = mapOf("item" to 1234567890123456768L)
    tell(load("values").recommend(listOf(item)))
    val values = mapOf("since" to Date(1717180200000), "day" to Date(1717113600000), "odd" to null)
    tell(load("values").recommend(listOf(item + values)))
}
