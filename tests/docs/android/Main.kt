// Runs the guide's two ways on cases: arguments are the assets' folder and the cases' file.
package com.example.recommendation

import android.content.Context
import android.content.res.AssetManager
import java.io.File
import org.json.JSONArray
import org.json.JSONObject

fun map(value: JSONObject): Map<String, Any?> =
    value.keys().asSequence().map { it as String }.associateWith { value.get(it) }

fun main(arguments: Array<String>) {
    val context = Context(AssetManager(File(arguments[0])))
    val cases = JSONArray(File(arguments[1]).readText())
    for (recommender in listOf(withInterpreter(context), withCompiledModel(context))) {
        for (n in 0 until cases.length()) {
            val case = cases.getJSONObject(n)
            val history = case.getJSONArray("history")
            val activities = (0 until history.length()).map { map(history.getJSONObject(it)) }
            val found = recommender.recommend(activities, 10, map(case.getJSONObject("user")))
            println(JSONArray(found.map { JSONArray(listOf(it.item, it.title, it.score)) }))
        }
    }
    System.exit(0)
}
