package com.example.recommendation

import android.app.Activity
import android.os.Bundle
import android.widget.ArrayAdapter
import android.widget.LinearLayout
import android.widget.ListView
import android.widget.TextView
import java.util.Date
import java.util.concurrent.Executors

/** One screen: what was picked, and what is recommended next; a tap picks. */
class MainActivity : Activity() {
    private val worker = Executors.newSingleThreadExecutor() // a Recommender is for one thread
    private val history = ArrayList<Map<String, Any?>>()
    private val titles = ArrayList<String>()
    private lateinit var recommender: Recommender
    private lateinit var picked: TextView
    private lateinit var list: ListView

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        picked = TextView(this)
        list = ListView(this)
        setContentView(LinearLayout(this).apply {
            orientation = LinearLayout.VERTICAL
            fitsSystemWindows = true
            addView(picked)
            addView(list)
        })
        worker.execute { recommender = onDevice(this) } // reads the files: not on the main thread
        recommend()
    }

    override fun onDestroy() {
        worker.shutdown()
        super.onDestroy()
    }

    private fun recommend() {
        val activities = history.toList()
        worker.execute {
            val found = recommender.recommend(activities, topK = 20)
            runOnUiThread { show(found) }
        }
    }

    private fun show(found: List<Recommendation>) {
        picked.text = titles.joinToString("\n").ifEmpty { "Nothing yet" }
        val rows = found.map { it.title.ifEmpty { it.item.toString() } }
        list.adapter = ArrayAdapter(this, android.R.layout.simple_list_item_1, rows)
        list.setOnItemClickListener { _, _, place, _ ->
            history += mapOf("item" to found[place].item, "time" to Date())
            titles += rows[place]
            recommend()
        }
    }
}
