// Looks up values with the guide's code; arguments are an export folder and the activities' file.
package com.example.recommendation

import java.io.File
import java.util.Date
import org.json.JSONArray
import org.json.JSONObject

object Values {
    @JvmStatic
    fun main(arguments: Array<String>) {
        var given: Map<String, Any> = emptyMap()
        val recommender = Recommender({ File(arguments[0], it).inputStream() }) { inputs, outputs ->
            given = inputs
            val ids = outputs.getValue(IDS) as IntArray
            for (place in ids.indices) ids[place] = place + 1
        }

        fun number(name: String, activity: Map<String, Any?>): Any {
            recommender.recommend(listOf(activity))
            val values = given.getValue(name)
            return if (values is IntArray) values[0] else (values as FloatArray)[0]
        }
        val listed = recommender.recommend(emptyList())
        println(JSONArray(listed.map { JSONArray(listOf(it.item, it.title)) }))
        println(JSONArray(recommender.recommend(listOf(mapOf("item" to listed[0].item))).map { it.item }))
        val activities = JSONArray(File(arguments[1]).readText())
        println(JSONArray((0 until activities.length()).map { n ->
            val activity = map(activities.getJSONObject(n))
            number(activity.keys.single { it != "item" }, activity)
        }))
        println(JSONArray(listed.map { JSONArray(listOf("item", "brand").map { name -> number(name, mapOf("item" to it.item)) }) }))
        val moment = Date(1717180200000) // 2024-05-31T18:30:00Z
        println(JSONArray(listOf(number("since", mapOf("item" to 1, "since" to moment)), number("odd", mapOf("item" to 1)))))
    }
}
